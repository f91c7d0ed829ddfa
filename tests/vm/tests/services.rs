//! The program that a machine keeps running, and what its image says about it.

use std::time::Duration;

use bhatti_api::run::RunState;
use bhatti_image::image::ImageConfig;
use bhatti_testing::artifacts;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::small_image::{BUSYBOX, SmallImage};
use bhatti_testing::wait::wait_for;
use bhatti_types::env::Env;

/// Time for a program to be started, in a guest that has just come up.
const START_LIMIT: Duration = Duration::from_mins(1);

/// How the program is, once it is as wanted.
async fn program(guest: &Guest, wanted: impl Fn(&RunState) -> bool) -> RunState {
    wait_for("the program to be as wanted", START_LIMIT, async || {
        let state = guest.view().await.run.and_then(|run| run.state);
        match state {
            Some(state) if wanted(&state) => Ok(state),
            other => Err(other),
        }
    })
    .await
}

fn runs(state: &RunState) -> bool {
    state.status == "running"
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_program_runs_from_the_first_boot_through_copies_sleep_failure_and_a_crash() {
    let daemon = Daemon::start().await;
    let script = "echo begin $$; trap 'echo asked' USR1; n=0; \
                  while :; do n=$((n+1)); echo $n > /tmp/n; sleep 0.2; done";
    let create = [
        "create",
        "--name",
        "web",
        "--memory",
        "256",
        "--restart",
        "always",
        "--run",
        "--",
        "sh",
        "-c",
        script,
    ];
    daemon.cli(&create).await.success();
    let guest = Guest::new(daemon.client(), "web");
    let first = program(&guest, runs).await;
    let pid = first.pid.expect("one that runs has a process");
    assert_eq!(first.restarts, 0);
    // As the image's user, in its directory.
    let owner = guest
        .sh(&format!("stat -c %U /proc/{pid}; readlink /proc/{pid}/cwd"))
        .await;
    assert_eq!(owner, "lohar\n/workspace");
    let shown = daemon.cli(&["inspect", "web"]).await.success();
    assert!(
        shown.contains("(restart always)") && shown.contains("running as"),
        "{shown}"
    );
    assert_eq!(
        daemon.cli(&["logs", "web"]).await.success(),
        format!("begin {pid}\n")
    );

    // A copy and a sleep go on with the same process.
    daemon
        .cli(&["fork", "web", "--name", "copy"])
        .await
        .success();
    let copy = Guest::new(daemon.client(), "copy");
    assert_eq!(program(&copy, runs).await.pid, Some(pid));
    daemon.cli(&["destroy", "-y", "copy"]).await.success();
    daemon.cli(&["stop", "web"]).await.success();
    assert!(guest.view().await.run.expect("it runs one").state.is_none());
    daemon.cli(&["start", "web"]).await.success();
    let woken = program(&guest, runs).await;
    assert_eq!((woken.pid, woken.restarts), (Some(pid), 0));

    // One that is killed is started again.
    guest.sh(&format!("kill -9 {pid}")).await;
    let again = program(&guest, |state| runs(state) && state.restarts == 1).await;
    assert_eq!((again.exit_code, again.signal), (Some(137), Some(9)));
    let begun = format!("begin {}\n", again.pid.expect("it runs"));
    wait_for("its first word", START_LIMIT, async || {
        let log = daemon.cli(&["logs", "-n", "1", "web"]).await.success();
        if log == begun { Ok(()) } else { Err(log) }
    })
    .await;

    // And once more after a boot, the log going on.
    guest.sh("sync").await;
    guest.end().await;
    daemon.cli(&["start", "web"]).await.success();
    let booted = program(&guest, runs).await;
    assert_eq!(booted.restarts, 0);
    wait_for("its word after the boot", START_LIMIT, async || {
        let log = daemon.cli(&["logs", "web"]).await.success();
        if log.matches("begin ").count() == 3 {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
}

#[tokio::test]
async fn what_an_image_says_holds_in_machines_that_have_next_to_nothing() {
    let mut daemon = Daemon::prepare();
    artifacts::install_kit(&daemon.data_dir());
    let env = Env::new([("PATH".to_owned(), "/tools".to_owned())].into());
    let config = ImageConfig {
        user: Some("1234:5678".to_owned()),
        env: env.expect("an environment"),
        workdir: Some("/made/for/it".to_owned()),
        entrypoint: words("busybox sh -c"),
        cmd: vec!["busybox id; busybox pwd; busybox kill -STOP $$".to_owned()],
        ..ImageConfig::default()
    };
    // No users, no directory that the kernel's own file systems are mounted on, no shell.
    SmallImage::new(config)
        .program(BUSYBOX, "/tools/busybox")
        .install(&daemon.data_dir(), "bare")
        .await;
    let named = ImageConfig {
        user: Some("app:staff".to_owned()),
        ..ImageConfig::default()
    };
    SmallImage::new(named)
        .program(BUSYBOX, "/bin/busybox")
        .file("/etc/passwd", "app:x:7:7::/home/app:/bin/sh\n")
        .file("/etc/group", "staff:x:50:\n")
        .install(&daemon.data_dir(), "named")
        .await;
    daemon.serve(&[]).await;

    let create = [
        "create", "--name", "bare", "--image", "bare", "--memory", "256", "--run",
    ];
    daemon.cli(&create).await.success();
    let log = wait_for("the program's words", START_LIMIT, async || {
        let log = daemon.cli(&["logs", "bare"]).await.success();
        if log.lines().count() == 2 {
            Ok(log)
        } else {
            Err(log)
        }
    })
    .await;
    assert_eq!(log, "uid=1234 gid=5678 groups=5678\n/made/for/it\n");
    let told = daemon
        .cli(&["exec", "bare", "busybox", "pwd"])
        .await
        .success();
    assert_eq!(told, "/made/for/it\n");
    let mounted = [
        "exec",
        "bare",
        "busybox",
        "ls",
        "-d",
        "/proc/1",
        "/sys/class",
        "/dev/null",
        "/tmp",
    ];
    daemon.cli(&mounted).await.success();

    let create = [
        "create", "--name", "named", "--image", "named", "--memory", "256",
    ];
    daemon.cli(&create).await.success();
    let told = daemon
        .cli(&["exec", "named", "busybox", "id"])
        .await
        .success();
    assert_eq!(told, "uid=7(app) gid=50(staff) groups=50(staff)\n");
    // It keeps nothing running, and says so.
    let refused = daemon.cli(&["logs", "named"]).await;
    assert!(refused.errors().contains("keeps no program running"));
    // Nothing to run is no machine.
    let create = [
        "create", "--name", "none", "--image", "named", "--memory", "256", "--run",
    ];
    let refused = daemon.cli(&create).await;
    assert!(refused.errors().contains("image named names none"));
}
