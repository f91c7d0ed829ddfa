//! An agent at the other end of a socket pair.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bhatti_guest::exec::{Command, Exec, ExecEvent, ExitStatus};
use bhatti_guest::link::{Greeting, Link};
use bytes::{Bytes, BytesMut};
use lohar::agent::Agent;
use lohar::fake::FakeSystem;
use lohar::reaper::ThreadReaper;
use lohar::session;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// For everything that should take no time at all, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// An agent, its system and the link to it.
pub(crate) struct Guest {
    pub(crate) link: Link,
    pub(crate) agent: Agent,
    pub(crate) system: Arc<FakeSystem>,
    pub(crate) server: JoinHandle<()>,
}

pub(crate) fn greeting(resync: bool) -> Greeting {
    Greeting {
        resync,
        limit: SOON,
    }
}

pub(crate) fn agent() -> (Agent, Arc<FakeSystem>) {
    let system = Arc::new(FakeSystem::default());
    let reaper = Arc::new(ThreadReaper);
    let agent = Agent::new(Path::new("/etc"), reaper, Arc::clone(&system) as _);
    (agent, system)
}

/// Serves one end of a socket pair and gives the other.
pub(crate) fn serve(agent: &Agent) -> (UnixStream, JoinHandle<()>) {
    let (host, guest) = UnixStream::pair().unwrap();
    let agent = agent.clone();
    let server = tokio::spawn(async move {
        // A host that goes away in mid-write is a normal end here.
        let _ = session::serve(guest, &agent).await;
    });
    (host, server)
}

impl Guest {
    pub(crate) async fn start() -> Self {
        let (agent, system) = agent();
        let (host, server) = serve(&agent);
        let link = Link::open(host, greeting(false)).await.unwrap();
        Self {
            link,
            agent,
            system,
            server,
        }
    }

    /// Runs a shell script to its end.
    pub(crate) async fn shell(&self, script: &str) -> Ran {
        let exec = self.link.exec(&shell(script)).await.unwrap();
        Ran::of(exec).await
    }
}

pub(crate) fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(|&word| word.to_owned()).collect(),
        ..Command::default()
    }
}

pub(crate) fn shell(script: &str) -> Command {
    command(&["sh", "-c", script])
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) stdout: Bytes,
    pub(crate) stderr: Bytes,
    pub(crate) status: ExitStatus,
}

impl Ran {
    /// Waits for a command's end, its input closed.
    pub(crate) async fn of(exec: Exec) -> Self {
        drop(exec.input);
        Self::output(exec.output).await
    }

    pub(crate) async fn output(mut output: bhatti_guest::exec::ExecOutput) -> Self {
        let (mut stdout, mut stderr) = (BytesMut::new(), BytesMut::new());
        let run = async {
            loop {
                match output.next().await.unwrap() {
                    Some(ExecEvent::Stdout(bytes)) => stdout.extend_from_slice(&bytes),
                    Some(ExecEvent::Stderr(bytes)) => stderr.extend_from_slice(&bytes),
                    Some(ExecEvent::Exit(status)) => return status,
                    None => panic!("the output ended without an exit"),
                }
            }
        };
        let status = timeout(SOON, run).await.expect("the command ends in time");
        assert_eq!(
            output.next().await.unwrap(),
            None,
            "nothing comes after the exit"
        );
        Self {
            stdout: stdout.freeze(),
            stderr: stderr.freeze(),
            status,
        }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap().trim_end()
    }
}

/// Reads output until it holds `wanted`.
pub(crate) async fn wait_for_output(exec: &mut Exec, wanted: &str) -> String {
    let mut seen = String::new();
    let read = async {
        while !seen.contains(wanted) {
            match exec.output.next().await.unwrap() {
                Some(ExecEvent::Stdout(bytes)) => {
                    seen.push_str(std::str::from_utf8(&bytes).unwrap());
                }
                other => panic!("waiting for {wanted:?}, got {other:?} after {seen:?}"),
            }
        }
    };
    timeout(SOON, read).await.expect("the output comes in time");
    seen
}

/// Waits until a condition holds.
pub(crate) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, wait)
        .await
        .unwrap_or_else(|_| panic!("not so in time: {what}"));
}

/// Whether a process lives; a zombie does not.
pub(crate) fn lives(pid: u32) -> bool {
    let Ok(stat) = fs_err::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().next());
    !matches!(state, Some("Z" | "X") | None)
}
