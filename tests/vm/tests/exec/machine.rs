//! One machine with its daemon.

use std::time::Duration;

use bhatti_api::exec::ExecRequest;
use bhatti_api::sandbox::CreateSandbox;
use bhatti_client::client::Client;
use bhatti_client::error::Error;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::stream::{self, Streamed};
use bhatti_testing::wait::wait_for;

/// The machine's name.
pub(crate) const NAME: &str = "dev";
/// Time for processes to be there or gone.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// Most resident memory of the guest agent, in KiB.
const AGENT_MEMORY_KB: u64 = 8 * 1024;

/// A daemon and one machine in it.
pub(crate) struct Machine {
    pub(crate) daemon: Daemon,
    pub(crate) client: Client,
    pub(crate) guest: Guest,
}

/// A command with a time limit of a minute.
pub(crate) fn command(cmd: &[&str]) -> ExecRequest {
    ExecRequest {
        cmd: cmd.iter().map(|arg| (*arg).to_owned()).collect(),
        timeout_sec: Some(60),
        ..ExecRequest::default()
    }
}

/// A shell line with a time limit of a minute.
pub(crate) fn line(line: &str) -> ExecRequest {
    command(&["sh", "-c", line])
}

/// The same with standard input.
pub(crate) fn with_stdin(request: ExecRequest) -> ExecRequest {
    ExecRequest {
        stdin: true,
        ..request
    }
}

impl Machine {
    /// A machine of the base image with 256 MiB.
    pub(crate) async fn start() -> Self {
        Self::start_as(CreateSandbox::default()).await
    }

    /// One as asked for, but for its name and its memory.
    pub(crate) async fn start_as(new: CreateSandbox) -> Self {
        let daemon = Daemon::start().await;
        let client = daemon.client();
        let new = CreateSandbox {
            name: Some(NAME.to_owned()),
            memory_mb: Some(256),
            ..new
        };
        let created = client.sandbox_create(&new).await;
        created.expect("a sandbox is created");
        let guest = Guest::new(client.clone(), NAME);
        Self {
            daemon,
            client,
            guest,
        }
    }

    /// Runs a command over the WebSocket.
    pub(crate) async fn try_run(
        &self,
        request: &ExecRequest,
        stdin: &[u8],
    ) -> Result<Streamed, Error> {
        stream::run(&self.client, NAME, request, stdin).await
    }

    /// Runs a command that has to be run.
    #[track_caller]
    pub(crate) fn run(
        &self,
        request: &ExecRequest,
        stdin: &[u8],
    ) -> impl Future<Output = Streamed> {
        let caller = std::panic::Location::caller();
        async move {
            let ran = self.try_run(request, stdin).await;
            ran.unwrap_or_else(|error| panic!("{caller}: {request:?}: {error:?}"))
        }
    }

    /// Standard output of a shell line that has to succeed, without the last line's end.
    #[track_caller]
    pub(crate) fn sh(&self, text: &str) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let ran = self.run(&line(text), b"").await;
            assert_eq!(ran.exit.code, 0, "{caller}: {text}: {ran:?}");
            ran.text().trim_end().to_owned()
        }
    }

    /// The processes whose command line holds `mark`, one a line.
    pub(crate) async fn processes(&self, mark: &str) -> String {
        let found = self.run(&command(&["pgrep", "-f", "-a", mark]), b"").await;
        assert!(matches!(found.exit.code, 0 | 1), "{found:?}");
        found.text()
    }

    /// Waits until there are as many of them.
    pub(crate) async fn wait_for_processes(&self, mark: &str, count: usize) {
        wait_for(&format!("{count} of {mark}"), LIMIT, async || {
            let found = self.processes(mark).await;
            if found.lines().count() == count {
                Ok(())
            } else {
                Err(found)
            }
        })
        .await;
    }

    /// Checks that no command left a process behind, not even a dead one, and that the agent has
    /// not grown.
    pub(crate) async fn check_nothing_is_left(&self) {
        wait_for("the end of all processes", LIMIT, async || {
            // All but the kernel's threads.
            let all = "ps --ppid 2 -p 2 --deselect -o pid=,ppid=,stat=,args=";
            let found = self.guest.sh(all).await;
            let left: Vec<_> = found
                .lines()
                .map(str::trim)
                .filter(|line| !line.starts_with("1 ") && !line.contains("--deselect"))
                .collect();
            if left.is_empty() {
                Ok(())
            } else {
                Err(found.clone())
            }
        })
        .await;
        let status = self.guest.sh("cat /proc/1/status").await;
        let resident: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
            .expect("the kernel tells the resident memory")
            .parse()
            .expect("it is a number");
        assert!(
            resident < AGENT_MEMORY_KB,
            "the agent takes {resident} KiB: {status}"
        );
    }
}
