//! `ai`: what an agent that writes programs uses.

use crate::machine::{Machine, request, run};

#[tokio::test]
async fn an_agent_finds_its_languages_and_tools() {
    let machine = Machine::start("ai", 512).await;
    let told = machine
        .sh(
            "python3 -c 'import venv, json, ssl; print(sum(range(101)))'; \
             node -e 'console.log([1, 2, 3].map(n => n * n).join(\" \"))'",
        )
        .await;
    assert_eq!(told, "5050\n1 4 9");

    machine
        .write(
            "hello.c",
            "#include <stdio.h>\nint main(void) { return !puts(\"hello from C\"); }\n",
        )
        .await;
    machine.write("Makefile", "CFLAGS = -Wall -Werror\n").await;
    assert_eq!(machine.sh("make -s hello && ./hello").await, "hello from C");

    let told = machine
        .sh("git init -q -b main && git add hello.c Makefile && \
             git -c user.name=dev -c user.email=dev@example.org commit -qm 'a program' && \
             git log --format='%an: %s' && git status --short")
        .await;
    assert_eq!(told, "dev: a program\n?? hello");

    assert_eq!(
        machine.sh("rg --line-number puts .").await.lines().count(),
        1
    );
    let told = run(
        &machine.guest,
        &request(None, &["jq", "-r", ".a[] | select(. > 1)"]),
        b"{\"a\": [1, 2, 3]}",
    )
    .await;
    assert_eq!(told.text(), "2\n3\n");

    // A session in a terminal goes on between commands, and through a sleep.
    machine
        .sh("tmux new-session -d -s work && tmux send-keys -t work 'X=$((6 * 7))' Enter")
        .await;
    machine.sleep().await;
    machine
        .sh("tmux send-keys -t work 'echo \"answer $X\"' Enter")
        .await;
    machine
        .wait_for("tmux capture-pane -p -t work | grep -x 'answer 42'")
        .await;

    let told = machine.sh("npm --version; pip3 --version").await;
    assert_eq!(told.lines().count(), 2, "{told}");
}
