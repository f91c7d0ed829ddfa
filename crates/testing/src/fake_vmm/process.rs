//! A process of the fake VMM.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bhatti_host::process::ProcessId;
use bhatti_types::id::{DataDirId, SandboxId};
use bhatti_vmm::machine::{Halt, MachineSpec};
use lohar::agent::Agent;
use lohar::session;
use tokio::io::DuplexStream;
use tokio::sync::watch;

use super::gate::Gate;
use super::guest::{Guest, Vcpus};
use super::reaper::FakeReaper;
use super::volumes::Volumes;

/// Bytes on their way between the daemon and the agent, each way.
const PORT: usize = 64 << 10;

/// A process, which lives on when the engine goes.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) id: ProcessId,
    pub(super) sandbox: SandboxId,
    pub(super) data_dir: DataDirId,
    pub(super) dir: PathBuf,
    pub(super) cpus: u32,
    pub(super) memory: u64,
    /// Device and inode of its disk.
    pub(super) disk: Option<(u64, u64)>,
    pub(super) guest: Arc<Guest>,
    pub(super) volumes: Volumes,
    agent: Agent,
    port: Mutex<Port>,
    ended: watch::Sender<Option<String>>,
    /// Why its vCPUs have stopped of themselves, until they are let run.
    halt: watch::Sender<Option<Halt>>,
}

/// The guest's end of the link: one connection after the other, as QEMU's socket has it.
#[derive(Debug, Default)]
struct Port {
    waiting: VecDeque<DuplexStream>,
    serving: bool,
}

impl Process {
    pub(super) fn new(
        id: ProcessId,
        spec: &MachineSpec,
        disk: Option<(u64, u64)>,
        guest: Guest,
    ) -> Self {
        let guest = Arc::new(guest);
        let reaper = Arc::new(FakeReaper::new(Arc::clone(&guest)));
        let system = Arc::clone(&guest.system);
        Self {
            id,
            sandbox: spec.sandbox.clone(),
            data_dir: spec.data_dir.clone(),
            dir: spec.dir.clone(),
            cpus: spec.cpus.get(),
            memory: spec.memory.bytes(),
            disk,
            guest,
            volumes: Volumes::default(),
            // Commands run as whoever runs the tests, so no file of users is needed.
            agent: Agent::new(Path::new("/nonexistent"), reaper, system),
            port: Mutex::default(),
            ended: watch::Sender::new(None),
            halt: watch::Sender::new(None),
        }
    }

    /// Its end, and all that hangs on it.
    pub(super) fn end(&self, log: &str) {
        self.guest.gone();
        self.port().waiting.clear();
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            if first {
                *ended = Some(log.to_owned());
            }
            first
        });
    }

    pub(super) fn log_if_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits for its end. Cancel-safe.
    pub(super) async fn ended(&self) -> String {
        let mut ended = self.ended.subscribe();
        // The sender is in `self`, so it is not gone.
        let log = ended.wait_for(Option::is_some).await;
        log.ok().and_then(|log| log.clone()).unwrap_or_default()
    }

    /// Lets vCPUs run.
    pub(super) fn resume(&self) {
        self.halt.send_replace(None);
        self.guest.run();
    }

    /// vCPUs stop of themselves, if they run; whether they did.
    pub(super) fn halt(&self, why: Halt) -> bool {
        let runs = self.guest.vcpus() == Vcpus::Running;
        if runs {
            self.guest.pause();
            self.halt.send_replace(Some(why));
        }
        runs
    }

    /// Waits until vCPUs have stopped of themselves. Cancel-safe.
    pub(super) async fn halted(&self) -> Halt {
        let mut halt = self.halt.subscribe();
        // The sender is in `self`, so it is not gone.
        let why = halt.wait_for(Option::is_some).await;
        why.ok().and_then(|why| *why).unwrap_or(Halt::Unknown)
    }

    /// Connects to the agent.
    pub(super) fn connect(self: &Arc<Self>) -> DuplexStream {
        let (host, guest) = tokio::io::duplex(PORT);
        let mut port = self.port();
        port.waiting.push_back(guest);
        if !port.serving {
            port.serving = true;
            // Owned by the port: it ends with the last connection, or with the daemon's runtime.
            let serving = Serving {
                process: Arc::clone(self),
                cut_off: true,
            };
            tokio::spawn(serving.serve());
        }
        host
    }

    fn port(&self) -> MutexGuard<'_, Port> {
        self.port.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one that serves a port.
struct Serving {
    process: Arc<Process>,
    /// Until it has ended by itself.
    cut_off: bool,
}

impl Serving {
    async fn serve(mut self) {
        while let Some(stream) = self.next() {
            let gate = Gate {
                stream,
                guest: Arc::clone(&self.process.guest),
            };
            // A daemon that goes away in mid-write is a normal end here.
            let _ = session::serve(gate, &self.process.agent).await;
        }
    }

    fn next(&mut self) -> Option<DuplexStream> {
        let mut port = self.process.port();
        let next = port.waiting.pop_front();
        if next.is_none() {
            port.serving = false;
            self.cut_off = false;
        }
        next
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // The runtime it ran in is gone: the next daemon's connection begins anew.
        if self.cut_off {
            self.process.port().serving = false;
        }
    }
}
