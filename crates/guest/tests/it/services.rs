//! The program that a guest keeps running.

use std::path::Path;
use std::sync::Arc;

use bhatti_guest::exec::ExitStatus;
use bhatti_guest::identity::Identity;
use bhatti_guest::link::Link;
use bhatti_guest::service::{LogsWanted, Phase, ServiceStatus};
use bhatti_types::run::{RestartPolicy, RunSpec};
use lohar::agent::Agent;
use lohar::fake::FakeSystem;
use lohar::reaper::ThreadReaper;
use tokio::time::timeout;

use crate::fixture::{SOON, greeting, serve};

/// A guest whose program's output is kept.
struct Machine {
    link: Link,
    agent: Agent,
    dir: tempfile::TempDir,
}

impl Machine {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let system = Arc::new(FakeSystem::default());
        system.keep_log_in(&dir.path().join("log"));
        let agent = Agent::new(Path::new("/etc"), Arc::new(ThreadReaper), system);
        let (host, _server) = serve(&agent);
        let link = Link::open(host, greeting(false)).await.unwrap();
        Self { link, agent, dir }
    }

    /// Says who it is and what it keeps running: a shell script.
    async fn tell(&self, script: &str, restart: RestartPolicy, signal: &str) {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        self.keep(RunSpec::new(argv, restart, signal.parse().unwrap()).unwrap())
            .await;
    }

    async fn keep(&self, run: RunSpec) {
        let identity = Identity {
            service: Some(run),
            cwd: Some(self.dir.path().to_string_lossy().into_owned()),
            ..Identity::default()
        };
        self.link.identity(&identity, SOON).await.unwrap();
    }

    async fn status(&self) -> ServiceStatus {
        self.link.service_status(SOON).await.unwrap()
    }

    /// Follows the log until it has `text`.
    async fn wrote(&self, text: &str) -> String {
        let wanted = LogsWanted {
            follow: true,
            ..LogsWanted::default()
        };
        let mut logs = self.link.logs(wanted).await.unwrap();
        let mut seen = String::new();
        let reading = async {
            while !seen.contains(text) {
                let piece = logs.next().await.unwrap().unwrap();
                seen.push_str(std::str::from_utf8(&piece).unwrap());
            }
        };
        let found = timeout(SOON, reading).await;
        assert!(found.is_ok(), "{text:?} is not in {seen:?}");
        seen
    }

    /// What is in the log now.
    async fn log(&self, tail: Option<u32>) -> String {
        let wanted = LogsWanted {
            tail,
            follow: false,
        };
        let mut logs = self.link.logs(wanted).await.unwrap();
        let mut seen = Vec::new();
        while let Some(piece) = logs.next().await.unwrap() {
            seen.extend_from_slice(&piece);
        }
        String::from_utf8(seen).unwrap()
    }

    /// Waits until the program stays ended.
    async fn ended(&self) -> ServiceStatus {
        let waiting = async {
            loop {
                let status = self.status().await;
                if status.phase == Phase::Ended {
                    return status;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, waiting).await.unwrap()
    }
}

#[tokio::test]
async fn a_program_is_started_once_however_often_the_machine_is_told() {
    let machine = Machine::start().await;
    assert_eq!(machine.status().await.phase, Phase::None);
    let script = "echo started; pwd; exec sleep 1000";
    machine.tell(script, RestartPolicy::Always, "TERM").await;
    let seen = machine.wrote("started\n").await;
    machine.tell(script, RestartPolicy::Always, "TERM").await;
    let status = machine.status().await;
    assert!(matches!(status.phase, Phase::Running { .. }), "{status:?}");
    assert!(status.since_unix_ms.is_some() && status.restarts == 0);
    machine
        .wrote(&format!("{}\n", machine.dir.path().display()))
        .await;
    assert_eq!(
        machine.log(None).await.matches("started").count(),
        1,
        "{seen}"
    );
    machine.agent.stop().await;
}

#[tokio::test]
async fn one_that_fails_is_started_again_until_it_ends_well() {
    let machine = Machine::start().await;
    let script = "echo run; test -e twice && exit 0; test -e once && touch twice; touch once; \
                  exit 3";
    machine.tell(script, RestartPolicy::OnFailure, "TERM").await;
    let status = machine.ended().await;
    assert_eq!(
        (status.restarts, status.last_exit),
        (2, Some(ExitStatus::Code(0)))
    );
    let log = machine.log(None).await;
    assert_eq!(log.matches("run\n").count(), 3, "{log}");
    assert!(
        log.contains("[bhatti] the program ended with exit code 3;"),
        "{log}"
    );
    assert_eq!(machine.log(Some(1)).await, "run\n");
}

#[tokio::test]
async fn one_that_is_not_to_be_started_again_is_not() {
    let machine = Machine::start().await;
    machine.tell("kill -9 $$", RestartPolicy::No, "TERM").await;
    let status = machine.ended().await;
    assert_eq!(
        (status.restarts, status.last_exit),
        (0, Some(ExitStatus::Signal(9)))
    );
    assert_eq!(machine.log(None).await, "");
}

#[tokio::test]
async fn it_is_asked_to_end_by_its_own_signal_and_stays_ended() {
    let machine = Machine::start().await;
    let script = "trap 'echo bye; exit 0' QUIT; trap '' TERM; echo ready; \
                  while :; do sleep 0.01; done";
    machine.tell(script, RestartPolicy::Always, "SIGQUIT").await;
    machine.wrote("ready\n").await;
    timeout(SOON, machine.agent.end_service()).await.unwrap();
    let status = machine.status().await;
    assert_eq!(
        (status.phase, status.last_exit),
        (Phase::Ended, Some(ExitStatus::Code(0)))
    );
    assert_eq!(machine.log(Some(1)).await, "bye\n");
}

#[tokio::test]
async fn one_that_is_not_there_is_told_of_and_tried_again() {
    let machine = Machine::start().await;
    let argv = vec!["/no/such-program".to_owned()];
    let run = RunSpec::new(argv, RestartPolicy::OnFailure, "TERM".parse().unwrap());
    machine.keep(run.unwrap()).await;
    let log = machine.wrote("again in 200ms").await;
    assert!(
        log.contains("[bhatti] /no/such-program: command not found\n"),
        "{log}"
    );
    let status = machine.status().await;
    assert!(status.restarts >= 1, "{status:?}");
    let error = status.error.as_deref();
    assert_eq!(error, Some("/no/such-program: command not found"));
    machine.agent.stop().await;
}

#[tokio::test]
async fn what_it_leaves_in_its_session_ends_with_it() {
    let machine = Machine::start().await;
    let script = "sleep 1234.5 & echo $! > child; exit 1";
    machine.tell(script, RestartPolicy::No, "TERM").await;
    machine.ended().await;
    let child = fs_err::read_to_string(machine.dir.path().join("child")).unwrap();
    let path = format!("/proc/{}/cmdline", child.trim());
    let gone = async {
        while fs_err::read_to_string(&path).is_ok_and(|line| line.contains("1234.5")) {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, gone).await.unwrap();
}
