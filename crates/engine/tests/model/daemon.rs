//! One life of a daemon: an engine in a runtime of its own, whose end is its end.
//!
//! The runtime has one thread and a paused clock: time passes when nothing else is to be done, so
//! a request that hangs is known to hang at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bhatti_engine::config::{AcceleratorChoice, EngineConfig};
use bhatti_engine::engine::Engine;
use bhatti_engine::error::Error;
use bhatti_engine::request::{
    Caller, Copies, EditSandbox, IdleEdit, NewCopies, NewExec, NewSandbox,
};
use bhatti_guest::exec::{ExecEvent, ExitStatus};
use bhatti_testing::fake_vmm::host::FakeHost;
use bhatti_types::env::Env;
use bhatti_types::size::MemoryMb;
use tokio::runtime::Runtime;

use crate::op::{Name, Request, Setup};
use crate::steps::StepFaults;

/// Far beyond every limit of the engine, by the daemon's clock: what takes so long, hangs.
pub(crate) const HANGS: Duration = Duration::from_hours(2);
/// For what goes on after a request, by the daemon's clock: a save takes some milliseconds of it.
const SETTLES: Duration = Duration::from_millis(100);
/// For files that are being written when a daemon is killed.
const BLOCKING: Duration = Duration::from_secs(10);

/// A daemon.
pub(crate) struct Daemon {
    runtime: Runtime,
    engine: Engine,
    caller: Caller,
}

/// What a request gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    /// A create found one of that name.
    Existing,
    /// What the guest said of itself.
    Said {
        boot: u64,
        memory: u64,
        disk: u64,
        hostname: String,
    },
}

impl Daemon {
    /// Starts a daemon. An error is the engine's, or that it hangs.
    pub(crate) fn start(
        dir: &Path,
        setup: Setup,
        host: &FakeHost,
        steps: &Arc<StepFaults>,
    ) -> Result<Self, Error> {
        let runtime = runtime();
        let config = config(dir, setup, steps);
        let opened = runtime.block_on(within(host, async {
            Engine::open_with(config, Arc::new(host.clone())).await
        }));
        match opened {
            Ok(Ok(engine)) => {
                let caller = engine.local_admin();
                Ok(Self {
                    runtime,
                    engine,
                    caller,
                })
            }
            Ok(Err(error)) => {
                runtime.shutdown_timeout(BLOCKING);
                Err(error)
            }
            Err(hangs) => Err(Error::internal(hangs)),
        }
    }

    /// Starts a daemon and kills it where its start hangs, or else after it.
    pub(crate) fn start_and_kill(
        dir: &Path,
        setup: Setup,
        host: &FakeHost,
        steps: &Arc<StepFaults>,
    ) -> Result<(), Error> {
        let runtime = runtime();
        let config = config(dir, setup, steps);
        let opened = runtime.block_on(async {
            tokio::select! {
                biased;
                () = host.faults().hanging() => Ok(()),
                opened = Engine::open_with(config, Arc::new(host.clone())) => opened.map(drop),
            }
        });
        runtime.shutdown_timeout(BLOCKING);
        opened
    }

    /// Runs something in the daemon's runtime, and then whatever it has left to do.
    pub(crate) fn run<T>(
        &self,
        host: &FakeHost,
        work: impl AsyncFnOnce(&Engine, &Caller) -> T,
    ) -> Result<T, String> {
        self.runtime.block_on(async {
            let done = within(host, work(&self.engine, &self.caller)).await?;
            tokio::time::sleep(SETTLES).await;
            Ok(done)
        })
    }

    /// Runs something until the daemon is to be killed.
    pub(crate) fn run_until_killed(
        &self,
        host: &FakeHost,
        steps: &StepFaults,
        work: impl AsyncFnOnce(&Engine, &Caller),
    ) -> Result<(), String> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = steps.killed() => Ok(()),
                () = host.faults().hanging() => Ok(()),
                done = tokio::time::timeout(HANGS, work(&self.engine, &self.caller)) => {
                    done.map_err(|_| "it hangs".to_owned())
                }
            }
        })
    }

    /// Ends it as `kill -9` does: at once, whatever it is at.
    pub(crate) fn kill(self) {
        // First the tasks: what they hold is not used any more.
        self.runtime.shutdown_timeout(BLOCKING);
    }

    /// Ends it in good order.
    pub(crate) fn close(self, host: &FakeHost) -> Result<(), String> {
        let closed = self.run(host, async |engine, _| engine.close().await);
        self.kill();
        closed
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        // The test looks after every turn, so that a kill is a kill.
        .event_interval(1)
        .build()
        .expect("a runtime can be made")
}

fn config(dir: &Path, setup: Setup, steps: &Arc<StepFaults>) -> EngineConfig {
    EngineConfig {
        accelerator: AcceleratorChoice::Tcg,
        max_templates: setup.templates,
        pool: setup.stock,
        faults: Arc::clone(steps) as _,
        ..EngineConfig::new(dir.to_owned())
    }
}

/// Waits for something, not for ever; a call of the VMM that hangs comes back after a while.
async fn within<T>(host: &FakeHost, work: impl Future<Output = T>) -> Result<T, String> {
    let release = async {
        loop {
            host.faults().hanging().await;
            tokio::time::sleep(Duration::from_secs(50)).await;
            host.faults().release();
        }
    };
    tokio::select! {
        done = tokio::time::timeout(HANGS, work) => done.map_err(|_| "it hangs".to_owned()),
        () = release => Err("unreachable: the release never ends".to_owned()),
    }
}

/// Makes a request. `number` is what a guest is to remember.
pub(crate) async fn ask(
    engine: &Engine,
    caller: &Caller,
    request: Request,
    number: u64,
) -> Result<Answer, Error> {
    match request {
        Request::Create(name) => {
            let new = NewSandbox {
                name: Some(name.as_str().parse()?),
                memory: MemoryMb::MIN,
                ..NewSandbox::default()
            };
            let created = engine.sandbox_create(caller, new).await?;
            Ok(if created.existing {
                Answer::Existing
            } else {
                Answer::Done
            })
        }
        Request::Resume(snap, name) => {
            let (snap, name) = (snap.as_str().parse()?, name.as_str().parse()?);
            let resumed = engine.snapshot_resume(caller, &snap, Some(name));
            resumed.await.map(|_| Answer::Done)
        }
        Request::Read(name) => {
            let text = command(engine, caller, name, "read".to_owned()).await?;
            said(&text).ok_or_else(|| Error::internal(format!("a guest said {text:?}")))
        }
        Request::Remember(name) => {
            let script = format!("remember {number}");
            let done = command(engine, caller, name, script).await;
            done.map(|_| Answer::Done)
        }
        Request::Store(name) => {
            let script = format!("store {number}");
            let done = command(engine, caller, name, script).await;
            done.map(|_| Answer::Done)
        }
        Request::Stop(name) => {
            let stopped = engine.sandbox_stop(caller, name.as_str()).await;
            stopped.map(|_| Answer::Done)
        }
        Request::Pause(name) => {
            let paused = engine.sandbox_pause(caller, name.as_str()).await;
            paused.map(|_| Answer::Done)
        }
        Request::Keep(name, keep_hot) => {
            let edit = EditSandbox {
                idle: IdleEdit {
                    keep_hot: Some(keep_hot),
                    ..IdleEdit::default()
                },
                ..EditSandbox::default()
            };
            let edited = engine.sandbox_edit(caller, name.as_str(), edit).await;
            edited.map(|_| Answer::Done)
        }
        Request::Start(name) => {
            let started = engine
                .sandbox_start(caller, name.as_str(), false, None)
                .await;
            started.map(|_| Answer::Done)
        }
        Request::Force(name) => {
            let started = engine
                .sandbox_start(caller, name.as_str(), true, None)
                .await;
            started.map(|_| Answer::Done)
        }
        Request::Checkpoint(name, snap) => {
            let snap = snap.as_str().parse()?;
            let taken = engine.snapshot_create(caller, name.as_str(), snap).await;
            taken.map(|_| Answer::Done)
        }
        Request::Forget(snap) => {
            let snap = snap.as_str().parse()?;
            let forgotten = engine.snapshot_delete(caller, &snap).await;
            forgotten.map(|()| Answer::Done)
        }
        Request::Fork(from, to) => {
            let copy = NewCopies {
                name: Some(to.as_str().parse()?),
                count: Copies::ONE,
                wait: None,
            };
            let forked = engine.sandbox_fork(caller, from.as_str(), copy).await;
            forked.map(|_| Answer::Done)
        }
        Request::Rollback(name, snap) => {
            let snap = snap.as_str().parse()?;
            let back = engine.sandbox_rollback(caller, name.as_str(), snap, false);
            back.await.map(|_| Answer::Done)
        }
        Request::Destroy(name) => {
            let destroyed = engine.sandbox_destroy(caller, name.as_str()).await;
            destroyed.map(|()| Answer::Done)
        }
    }
}

/// Runs a command to its end and gives what it printed.
async fn command(
    engine: &Engine,
    caller: &Caller,
    name: Name,
    script: String,
) -> Result<String, Error> {
    let exec = NewExec {
        argv: vec!["sh".to_owned(), "-c".to_owned(), script],
        env: Env::default(),
        workdir: None,
        user: None,
        timeout: None,
        stdin: false,
    };
    // Held until the command has ended: it keeps the machine hot.
    let (mut exec, _lease) = engine.exec(caller, name.as_str(), exec).await?;
    let mut printed = Vec::new();
    loop {
        match exec.output.next().await? {
            Some(ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes)) => printed.extend(bytes),
            Some(ExecEvent::Exit(ExitStatus::Code(0))) => break,
            Some(ExecEvent::Exit(_)) | None => return Err(Error::internal("the command failed")),
        }
    }
    String::from_utf8(printed).map_err(Error::internal)
}

fn said(text: &str) -> Option<Answer> {
    let mut words = text.trim_end().split(' ');
    let mut number = || words.next()?.parse().ok();
    let (boot, memory, disk) = (number()?, number()?, number()?);
    Some(Answer::Said {
        boot,
        memory,
        disk,
        hostname: words.next()?.to_owned(),
    })
}
