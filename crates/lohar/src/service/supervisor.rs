//! Starts the program, watches over it, starts it again, and ends it.
//!
//! ```text
//!           identity               ends, policy says so
//!  (none) ───────────► RUNNING ─────────────────────────► WAITING
//!                        │  ▲          pause is over         │
//!                        │  └────────────────────────────────┘
//!                        └──────────► ENDED   (policy, or the power goes off)
//! ```

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bhatti_proto::message::{Exec, Exited, Reply, reply};
use bhatti_proto::service::{Restart, Service, ServicePhase, ServiceStatusReply};
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use super::log::Log;
use crate::agent::Agent;
use crate::exec::attached::Outputs;
use crate::exec::child::{self, Output};
use crate::exec::refusal::Refusal;
use crate::exec::{kill, plan};
use crate::reaper::Ended;
use crate::sys;

/// Time for the program to end after its stop signal, before it is killed.
const STOP_GRACE: Duration = Duration::from_secs(8);
/// Time for a killed program to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// What is known of the program.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// `None` if what it writes is kept nowhere.
    log: Option<Arc<Log>>,
    /// Holds its process id, for an agent that takes another's place.
    record: Option<PathBuf>,
    state: Mutex<State>,
    /// Cancelled when it is to end for good.
    stop: CancellationToken,
    /// Cancelled when it has.
    over: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    since: Option<SystemTime>,
    restarts: u32,
    last_exit: Option<Exited>,
    error: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    None,
    Running(u32),
    Waiting,
    Ended,
}

/// One run of the program, up to its end.
struct Run {
    exit: Exited,
    lasted: Duration,
}

impl Supervisor {
    pub(crate) fn new(log_dir: Option<PathBuf>, run_dir: Option<PathBuf>) -> Self {
        Self {
            log: log_dir.map(Log::new),
            record: run_dir.map(|dir| dir.join("service")),
            state: Mutex::default(),
            stop: CancellationToken::new(),
            over: CancellationToken::new(),
        }
    }

    pub(crate) fn log(&self) -> Option<&Arc<Log>> {
        self.log.as_ref()
    }

    /// Starts the program, unless there is one already: then it was started in this boot, or in
    /// that of the machine this is a copy of.
    pub(crate) fn start(self: &Arc<Self>, agent: &Agent, service: Service) {
        {
            let mut state = self.state();
            if state.phase != Phase::None || service.argv.is_empty() {
                return;
            }
            // It is there from now on, for whoever asks.
            state.phase = Phase::Waiting;
        }
        let (this, owner) = (Arc::clone(self), agent.clone());
        agent.spawn(async move {
            this.keep_running(&owner, &service).await;
            this.over.cancel();
        });
    }

    /// How it is doing.
    pub(crate) fn status(&self) -> ServiceStatusReply {
        let state = self.state();
        let (phase, pid) = match state.phase {
            Phase::None => (ServicePhase::None, None),
            Phase::Running(pid) => (ServicePhase::Running, Some(pid)),
            Phase::Waiting => (ServicePhase::Waiting, None),
            Phase::Ended => (ServicePhase::Ended, None),
        };
        ServiceStatusReply {
            phase: phase.into(),
            pid,
            since_unix_ms: state.since.and_then(unix_ms),
            restarts: state.restarts,
            last_exit: state.last_exit,
            error: state.error.clone(),
        }
    }

    /// Ends the program by its own signal, and by force if that does not help. It is not started
    /// again. Comes back when it is gone.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        if self.state().phase != Phase::None {
            self.over.cancelled().await;
        }
    }

    async fn keep_running(&self, agent: &Agent, service: &Service) {
        self.end_an_earlier_one();
        let mut backoff = Backoff::default();
        loop {
            let run = match self.run(agent, service).await {
                Ok(run) => run,
                Err(refusal) => {
                    self.say(&refusal.message).await;
                    self.state().error = refusal.message;
                    Run {
                        exit: Exited {
                            code: Some(127),
                            ..Exited::default()
                        },
                        lasted: Duration::ZERO,
                    }
                }
            };
            let again = match service.restart() {
                Restart::No => false,
                Restart::OnFailure => run.exit.code != Some(0),
                Restart::Always => true,
            };
            let again = again && !self.stop.is_cancelled() && !agent.stopping().is_cancelled();
            self.ended(&run, again);
            if !again {
                return;
            }
            let pause = backoff.next(run.lasted);
            let told = told(&run.exit);
            self.say(&format!("{told}; it is started again in {pause:?}"))
                .await;
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stop.cancelled() => return self.enter(Phase::Ended),
                () = agent.stopping().cancelled() => return self.enter(Phase::Ended),
            }
            self.state().restarts += 1;
        }
    }

    /// Runs it once.
    async fn run(&self, agent: &Agent, service: &Service) -> Result<Run, Refusal> {
        let exec = Exec {
            argv: service.argv.clone(),
            ..Exec::default()
        };
        let plan = plan::plan(agent.etc(), &agent.defaults(), &exec)?;
        let started = child::start(&plan, Output::Pipes, agent.reaper())?;
        let (pid, since) = (started.pid, Instant::now());
        self.state().error.clear();
        self.enter(Phase::Running(pid));
        self.note_pid(Some(pid));
        let _place = agent.registry().detach();
        let mut outputs = Outputs::new(started.stdout, started.stderr).map_err(|error| {
            kill::session(pid);
            Refusal::new(
                bhatti_proto::message::RefusalKind::Failed,
                format!("cannot take the program's output: {error}"),
            )
        })?;
        let mut ended = started.ended;
        let exit = tokio::select! {
            ended = self.end_of(pid, service, agent, &mut ended) => ended,
            () = self.keep_output(&mut outputs) => Ended::told(None),
        };
        for reply in outputs.rest().unwrap_or_default() {
            self.keep(reply).await;
        }
        // What it leaves behind in its own session is of no use without it.
        kill::session(pid);
        self.note_pid(None);
        Ok(Run {
            exit,
            lasted: since.elapsed(),
        })
    }

    /// Waits for its end, and brings it about when that is wanted.
    async fn end_of(
        &self,
        pid: u32,
        service: &Service,
        agent: &Agent,
        ended: &mut oneshot::Receiver<Ended>,
    ) -> Exited {
        tokio::select! {
            biased;
            ended = &mut *ended => return Ended::told(ended.ok()),
            () = self.stop.cancelled() => {
                let signal = match service.stop_signal {
                    signal @ 1..=sys::MAX_SIGNAL => signal,
                    _ => libc::SIGTERM,
                };
                sys::kill(pid, signal);
                if let Ok(ended) = timeout(STOP_GRACE, &mut *ended).await {
                    return Ended::told(ended.ok());
                }
            }
            () = agent.stopping().cancelled() => {}
        }
        kill::session(pid);
        match timeout(KILL_LIMIT, ended).await {
            Ok(ended) => Ended::told(ended.ok()),
            Err(_) => Ended::told(None),
        }
    }

    /// Keeps what it writes, for ever.
    async fn keep_output(&self, outputs: &mut Outputs) {
        loop {
            let reply = outputs.next().await;
            self.keep(reply).await;
        }
    }

    async fn keep(&self, reply: Reply) {
        if let Some(reply::Op::Stdout(bytes) | reply::Op::Stderr(bytes)) = reply.op {
            self.append(bytes).await;
        }
    }

    /// Says something in the log.
    async fn say(&self, what: &str) {
        self.append(Bytes::from(format!("[bhatti] {what}\n"))).await;
    }

    async fn append(&self, bytes: Bytes) {
        let Some(log) = self.log.clone() else {
            return;
        };
        // A disk that is full or cannot be written is no reason to stop the program.
        let _ = tokio::task::spawn_blocking(move || log.append(&bytes)).await;
    }

    fn ended(&self, run: &Run, again: bool) {
        self.state().last_exit = Some(run.exit);
        self.enter(if again { Phase::Waiting } else { Phase::Ended });
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        state.phase = phase;
        state.since = Some(SystemTime::now());
    }

    /// Writes down which process it is. Without it an agent that takes this one's place would
    /// start a second one.
    #[expect(
        clippy::disallowed_methods,
        reason = "a file on a tmpfs, which is either read whole or not believed"
    )]
    fn note_pid(&self, pid: Option<u32>) {
        let Some(record) = &self.record else { return };
        let written = match pid.and_then(|pid| Some((pid, kill::start_time(pid)?))) {
            Some((pid, start)) => std::fs::write(record, format!("{pid} {start}\n")),
            None => std::fs::remove_file(record),
        };
        // It may be gone already, and then nothing is to be ended later either.
        drop(written);
    }

    /// Ends the program of an agent that was here before this one: its output leads nowhere.
    fn end_an_earlier_one(&self) {
        let Some(record) = &self.record else { return };
        let text = std::fs::read_to_string(record).unwrap_or_default();
        let mut words = text.split_whitespace();
        if let (Some(Ok(pid)), Some(start)) = (words.next().map(str::parse::<u32>), words.next())
            && kill::start_time(pid).is_some_and(|found| found == start)
        {
            kill::session(pid);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every statement, so a poisoned lock is as good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn told(exit: &Exited) -> String {
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("the program ended with exit code {code}"),
        (None, Some(signal)) => format!("the program was ended by signal {signal}"),
        (None, None) => "the program ended".to_owned(),
    }
}

fn unix_ms(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}
