//! Terminals in real guests: they live on without a client, a daemon, and through sleep.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

use std::time::Duration;

use bhatti_api::exec::ExecRequest;
use bhatti_client::shell::{ShellInput, ShellOutput, ShellRequest, ShellStep};
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::wait::wait_for;
use tokio::time::timeout;

/// Time for a terminal to show something.
const SHOW_LIMIT: Duration = Duration::from_mins(1);

/// An attached terminal.
struct Shell {
    input: ShellInput,
    output: ShellOutput,
    session: String,
    resumed: bool,
}

impl Shell {
    async fn attach(daemon: &Daemon, request: &ShellRequest) -> Self {
        let attached = daemon.client().shell("dev", request).await;
        let (input, mut output) = attached.expect("it can be attached to");
        match output.next().await.expect("it answers") {
            ShellStep::Attached { session, resumed } => Self {
                input,
                output,
                session,
                resumed,
            },
            other => panic!("{other:?}"),
        }
    }

    async fn keys(&mut self, text: &str) {
        self.input
            .keys(text.as_bytes())
            .await
            .expect("keys go through");
    }

    /// Reads until `text` was shown.
    async fn shows(&mut self, text: &str) -> String {
        let mut seen = String::new();
        let reading = async {
            while !seen.contains(text) {
                match self.output.next().await.expect("it goes on") {
                    ShellStep::Output(bytes) => seen.push_str(&String::from_utf8_lossy(&bytes)),
                    other => panic!("{other:?} after {seen:?}"),
                }
            }
        };
        let shown = timeout(SHOW_LIMIT, reading).await;
        assert!(shown.is_ok(), "{text:?} is not in {seen:?}");
        seen
    }

    /// Reads to the program's end.
    async fn exit(&mut self) -> i32 {
        let reading = async {
            loop {
                match self.output.next().await.expect("it ends") {
                    ShellStep::Exit(code) => return code,
                    ShellStep::Output(_) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        timeout(SHOW_LIMIT, reading).await.expect("it ends in time")
    }
}

#[tokio::test]
async fn a_shell_lives_on_without_a_client_a_daemon_and_through_sleep() {
    let mut daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    let sized = ShellRequest {
        size: Some((33, 101)),
        term: Some("vt100".to_owned()),
        ..ShellRequest::default()
    };
    let mut first = Shell::attach(&daemon, &sized).await;
    assert!(!first.resumed);
    // The image's user, its shell and directory, and a terminal of the client's size. The words
    // are put together by the shell, so that their echo is not taken for them.
    first
        .keys("stty size; echo $TERM $(id -un) $PWD; echo re\"\"ady\n")
        .await;
    let seen = first.shows("\nready").await;
    assert!(
        seen.contains("33 101") && seen.contains("vt100 lohar /workspace"),
        "{seen}"
    );
    first.input.resize(20, 60).await.expect("it takes a size");
    first.keys("stty size; echo re\"\"sized\n").await;
    let seen = first.shows("\nresized").await;
    assert!(seen.contains("20 60"), "{seen}");
    first.keys("KEPT=in-memory\n").await;

    // It is told of, and keeps the sandbox hot while somebody is attached.
    let view = dev.view().await;
    let leases = view.idle.expect("it is told of").leases;
    assert!(
        leases.iter().any(|lease| lease.what == "shell"),
        "{leases:?}"
    );
    let told = daemon.cli(&["ps", "dev"]).await.success();
    let line = told.lines().nth(1).expect("there is a session");
    assert!(
        line.contains(&first.session) && line.contains("bash"),
        "{told}"
    );

    // The client goes, then the daemon, then the machine to disk.
    let session = first.session.clone();
    drop(first);
    wait_for("nobody to be attached", SHOW_LIMIT, async || {
        let sessions = daemon
            .client()
            .sessions("dev")
            .await
            .expect("they are listed");
        if sessions[0].attached {
            Err(sessions)
        } else {
            Ok(())
        }
    })
    .await;
    daemon.kill().await;
    daemon.serve(&[]).await;
    daemon.cli(&["stop", "dev"]).await.success();

    // Attaching wakes it, finds the same shell, and shows what was there.
    let mut again = Shell::attach(&daemon, &ShellRequest::default()).await;
    assert_eq!(
        (again.session.as_str(), again.resumed),
        (session.as_str(), true)
    );
    again.shows("resized").await;
    again.keys("echo $KEPT-still\n").await;
    again.shows("in-memory-still").await;
    // Ctrl+C ends what runs in it and not the shell.
    again.keys("sleep 1000\n").await;
    again.shows("sleep 1000").await;
    again.keys("\x03").await;
    again.keys("echo $?-after\n").await;
    again.shows("130-after").await;
    again.keys("exit 7\n").await;
    assert_eq!(again.exit().await, 7);
    assert!(
        daemon
            .client()
            .sessions("dev")
            .await
            .expect("they are listed")
            .is_empty()
    );

    // One of a command's own ends with its client.
    let exec = ExecRequest {
        cmd: ["sh", "-c", "tty && exec sleep 1234.5"]
            .map(str::to_owned)
            .to_vec(),
        ..ExecRequest::default()
    };
    let own = ShellRequest {
        exec: Some(exec),
        ..ShellRequest::default()
    };
    let mut command = Shell::attach(&daemon, &own).await;
    command.shows("/dev/pts/").await;
    drop(command);
    wait_for("the command to be gone", SHOW_LIMIT, async || {
        let told = dev.sh("pgrep -f 'sleep 1234[.]5' || true").await;
        if told.is_empty() { Ok(()) } else { Err(told) }
    })
    .await;
}
