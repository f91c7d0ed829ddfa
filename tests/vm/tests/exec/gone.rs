//! Clients that go away take their commands with them.

use bhatti_api::routes::NDJSON;
use bhatti_testing::{http, stream};

use crate::machine::{Machine, NAME, command, line, with_stdin};

/// Three processes of one group that do not go when they are asked to.
fn stubborn(mark: &str) -> String {
    format!("trap '' HUP INT TERM; sleep {mark} & sleep {mark} & echo ready; sleep {mark}; :")
}

/// A mark as a pattern that does not find the process that looks for it.
fn pattern(mark: &str) -> String {
    format!("sleep {}", mark.replace('.', "[.]"))
}

#[tokio::test]
async fn no_process_is_left_when_the_client_is_gone() {
    let machine = Machine::start().await;
    let client = &machine.client;

    // A WebSocket that breaks, in mid-command.
    let started = client.exec_start(NAME, &line(&stubborn("1002.1"))).await;
    let (input, mut output) = started.expect("it starts");
    stream::until(&mut output, "ready\n").await;
    // The shell's own command line holds the mark too.
    machine.wait_for_processes(&pattern("1002.1"), 4).await;
    // One that stays, beside it: nobody else's command goes.
    let started = client.exec_start(NAME, &line(&stubborn("1003.1"))).await;
    let (other_input, mut other) = started.expect("it starts");
    stream::until(&mut other, "ready\n").await;
    drop((input, output));
    machine.wait_for_processes(&pattern("1002.1"), 0).await;
    machine.wait_for_processes(&pattern("1003.1"), 4).await;

    // A command that waits for input, and one whose output nobody took.
    let started = client
        .exec_start(NAME, &with_stdin(line("echo ready; cat; sleep 1002.2")))
        .await;
    let (mut input, mut output) = started.expect("it starts");
    stream::until(&mut output, "ready\n").await;
    input.stdin(b"more").await.expect("it reads");
    drop((input, output));
    machine.wait_for_processes(&pattern("1002.2"), 0).await;
    let started = client
        .exec_start(NAME, &command(&["yes", "sleep 1002.3"]))
        .await;
    let both = started.expect("it starts");
    machine.wait_for_processes("yes sleep 1002[.]3", 1).await;
    drop(both);
    machine.wait_for_processes("yes sleep 1002[.]3", 0).await;

    // A command line that is killed.
    let text = stubborn("1002.4");
    let mut cli = machine
        .daemon
        .cli_command(&["exec", NAME, "--", "sh", "-c", &text]);
    let mut cli = cli.spawn().expect("bhatti starts");
    machine.wait_for_processes(&pattern("1002.4"), 4).await;
    cli.kill().await.expect("it can be killed");
    machine.wait_for_processes(&pattern("1002.4"), 0).await;

    // An answer in one piece that nobody waits for any more.
    let request = line(&stubborn("1002.5"));
    let found = pattern("1002.5");
    let mut exec = Box::pin(client.exec(NAME, &request));
    tokio::select! {
        result = &mut exec => panic!("it ended: {result:?}"),
        () = machine.wait_for_processes(&found, 4) => {}
    }
    drop(exec);
    machine.wait_for_processes(&pattern("1002.5"), 0).await;

    // An answer line by line, likewise.
    let body = serde_json::to_vec(&line(&stubborn("1002.6"))).expect("a request is JSON");
    let path = format!("/sandboxes/{NAME}/exec");
    let mut answer = http::post(&machine.daemon.socket(), &path, NDJSON, body).await;
    answer.piece().await.expect("it said that it is ready");
    machine.wait_for_processes(&pattern("1002.6"), 4).await;
    drop(answer);
    machine.wait_for_processes(&pattern("1002.6"), 0).await;

    // All the while the other has been left alone.
    machine.wait_for_processes(&pattern("1003.1"), 4).await;
    drop((other_input, other));
    machine.check_nothing_is_left().await;
}
