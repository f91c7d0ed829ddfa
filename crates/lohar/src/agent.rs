//! The agent: what its links and commands share.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bhatti_proto::message::{AgentHello, Identity, NextTimerReply, StatusReply};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exec::plan::Defaults;
use crate::exec::registry::Registry;
use crate::freezer::Freezer;
use crate::reaper::Reaper;
use crate::service::supervisor::Supervisor;
use crate::system::{System, SystemError};
use crate::terminal::sessions::Sessions;

/// An agent. Clones share it.
#[derive(Debug, Clone)]
pub struct Agent {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    hello: AgentHello,
    etc: PathBuf,
    reaper: Arc<dyn Reaper>,
    system: Arc<dyn System>,
    registry: Arc<Registry>,
    defaults: Mutex<Defaults>,
    /// Held while an identity is taken: two at once would mix. Counts them.
    generation: tokio::sync::Mutex<u64>,
    last_generation: Mutex<u64>,
    /// Held while timers are looked for. One look that hangs then costs one thread, and not one
    /// for each that asks.
    looking: Arc<tokio::sync::Mutex<()>>,
    supervisor: Arc<Supervisor>,
    /// Holds writes to the disk while it is copied.
    freezer: Freezer,
    sessions: Sessions,
    since: Instant,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Agent {
    /// Makes an agent with its effects. Users and groups are those of `etc`.
    pub fn new(etc: &Path, reaper: Arc<dyn Reaper>, system: Arc<dyn System>) -> Self {
        let hello = AgentHello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: kernel_text("osrelease"),
            boot_id: kernel_text("random/boot_id"),
            init: system.init().to_owned(),
        };
        let supervisor = Supervisor::new(system.log_dir(), system.run_dir());
        Self {
            inner: Arc::new(Inner {
                hello,
                etc: etc.to_owned(),
                reaper,
                system,
                registry: Arc::default(),
                defaults: Mutex::default(),
                generation: tokio::sync::Mutex::default(),
                last_generation: Mutex::default(),
                looking: Arc::default(),
                supervisor: Arc::new(supervisor),
                freezer: Freezer::default(),
                sessions: Sessions::default(),
                since: Instant::now(),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// Kills all commands, attached and detached, and waits until they are gone. The agent is of
    /// no use afterwards.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Ends the program that the machine keeps running, in good order. It is not started again.
    pub async fn end_service(&self) {
        self.inner.supervisor.end().await;
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.inner.sessions
    }

    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.inner.supervisor
    }

    pub(crate) fn hello(&self) -> &AgentHello {
        &self.inner.hello
    }

    pub(crate) fn etc(&self) -> &Path {
        &self.inner.etc
    }

    pub(crate) fn reaper(&self) -> &dyn Reaper {
        &*self.inner.reaper
    }

    pub(crate) fn system(&self) -> &Arc<dyn System> {
        &self.inner.system
    }

    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.inner.registry
    }

    pub(crate) fn freezer(&self) -> &Freezer {
        &self.inner.freezer
    }

    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    pub(crate) fn defaults(&self) -> Defaults {
        lock(&self.inner.defaults).clone()
    }

    /// Runs a task that the agent owns and [`Agent::stop`] waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.spawn(task);
    }

    /// Becomes the machine that the identity describes, one identity after the other.
    pub(crate) async fn take_identity(&self, identity: Identity) -> Result<(), SystemError> {
        let mut generation = self.inner.generation.lock().await;
        let next = *generation + 1;
        let defaults = Defaults {
            env: identity
                .env
                .iter()
                .map(|variable| (variable.name.clone(), variable.value.clone()))
                .collect(),
            user: identity.user.clone(),
            cwd: identity.cwd.clone(),
        };
        let service = identity.service.clone();
        let system = Arc::clone(&self.inner.system);
        let taken =
            tokio::task::spawn_blocking(move || system.take_identity(&identity, next)).await;
        taken.map_err(|error| SystemError {
            what: "finish taking the identity",
            source: std::io::Error::other(error),
        })??;
        *generation = next;
        *lock(&self.inner.last_generation) = next;
        *lock(&self.inner.defaults) = defaults;
        if let Some(service) = service {
            self.inner.supervisor.start(self, service);
        }
        Ok(())
    }

    /// Looks for what next wants to run, one look after the other.
    pub(crate) async fn next_timer(&self) -> Result<NextTimerReply, tokio::task::JoinError> {
        let looking = Arc::clone(&self.inner.looking).lock_owned().await;
        let system = Arc::clone(&self.inner.system);
        let look = move || {
            let next = system.next_timer();
            drop(looking);
            next
        };
        tokio::task::spawn_blocking(look).await
    }

    /// How it goes, `streams` being those of the link that asks.
    pub(crate) fn status(&self, streams: u32) -> StatusReply {
        StatusReply {
            rss_bytes: resident_bytes(),
            uptime_ms: self.inner.since.elapsed().as_millis() as u64,
            running: self.inner.registry.running() as u32,
            streams,
            generation: *lock(&self.inner.last_generation),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is locked here is replaced as a whole, so a poisoned lock is as good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A one-line file of `/proc/sys/kernel`; empty if it cannot be read.
fn kernel_text(name: &str) -> String {
    let text = fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).unwrap_or_default();
    text.trim().to_owned()
}

/// This process's resident memory; 0 if it cannot be read.
fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.split_whitespace().next()?.parse().ok());
    kilobytes.unwrap_or(0u64) * 1024
}
