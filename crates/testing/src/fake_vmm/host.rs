//! The machine that the fake VMM's processes are on.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bhatti_host::process::ProcessId;
use bhatti_types::id::{DataDirId, SandboxId};
use bhatti_vmm::error::VmmError;
use bhatti_vmm::machine::{Found, Halt, Machine, MachineSpec, Vmm, VolumeDisk, file};
use lohar::fake::FakeSystem;

use super::fault::{Act, Call, Faults};
use super::guest::{Guest, Mapped, Vcpus};
use super::machine::FakeMachine;
use super::process::Process;
use super::record::{self, Memory, State};

/// Above every pid that Linux gives (`PID_MAX_LIMIT`, 2^22).
const FIRST_PID: u32 = 1 << 24;
/// What a call that times out takes.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Asked before vCPUs run: what is wrong with it, if anything.
type BeforeRun = Box<dyn Fn(&SandboxId) -> Option<String> + Send + Sync>;

/// What guests and processes stand on.
pub(super) struct Ground {
    numbers: AtomicU64,
    violations: Mutex<Vec<String>>,
    before_run: Mutex<Option<BeforeRun>>,
}

impl fmt::Debug for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ground").finish_non_exhaustive()
    }
}

impl Ground {
    /// A number that no other call gives.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn violated(&self, what: String) {
        lock(&self.violations).push(what);
    }

    pub(super) fn about_to_run(&self, sandbox: &SandboxId) {
        let wrong = lock(&self.before_run)
            .as_ref()
            .and_then(|asked| asked(sandbox));
        if let Some(wrong) = wrong {
            self.violated(format!("{sandbox}: vCPUs are let run: {wrong}"));
        }
    }
}

/// A host with fake VMMs. Clones are the same host.
#[derive(Debug, Clone)]
pub struct FakeHost {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ground: Arc<Ground>,
    faults: Faults,
    processes: Mutex<BTreeMap<u32, Arc<Process>>>,
    /// Whose machines ended without the daemon's doing.
    deaths: Mutex<Vec<SandboxId>>,
    launches: AtomicU64,
}

/// A process as a test sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// The sandbox it says it is.
    pub sandbox: SandboxId,
    /// Its pid; no two of one host have the same.
    pub pid: u32,
    /// Whether its vCPUs run.
    pub running: bool,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                ground: Arc::new(Ground {
                    numbers: AtomicU64::new(1),
                    violations: Mutex::default(),
                    before_run: Mutex::default(),
                }),
                faults: Faults::default(),
                processes: Mutex::default(),
                deaths: Mutex::default(),
                launches: AtomicU64::new(0),
            }),
        }
    }
}

impl FakeHost {
    /// How calls break.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// All that went against an invariant so far.
    pub fn violations(&self) -> Vec<String> {
        lock(&self.inner.ground.violations).clone()
    }

    /// Asks `what_is_wrong` whenever vCPUs are about to run; an answer is a violation.
    pub fn before_run(
        &self,
        what_is_wrong: impl Fn(&SandboxId) -> Option<String> + Send + Sync + 'static,
    ) {
        *lock(&self.inner.ground.before_run) = Some(Box::new(what_is_wrong));
    }

    /// The processes that live.
    pub fn processes(&self) -> Vec<Seen> {
        let processes = self.living();
        let seen = processes.values().map(|process| Seen {
            sandbox: process.sandbox.clone(),
            pid: process.id.pid,
            running: process.guest.vcpus() == Vcpus::Running,
        });
        seen.collect()
    }

    /// How many machines were started so far.
    pub fn launches(&self) -> u64 {
        self.inner.launches.load(Ordering::Relaxed)
    }

    /// What was done to the guest of a sandbox that has a machine.
    pub fn guest(&self, sandbox: &SandboxId) -> Option<Arc<FakeSystem>> {
        let processes = self.living();
        let found = processes.values().find(|it| it.sandbox == *sandbox);
        found.map(|process| process.guest.system.clone())
    }

    /// Ends the machine of a sandbox, as a power-off inside or a kill from outside does. Says
    /// whether there was one.
    pub fn end_machine(&self, sandbox: &SandboxId) -> bool {
        let of_it: Vec<_> = {
            let processes = self.living();
            let of_it = processes.values().filter(|it| it.sandbox == *sandbox);
            of_it.cloned().collect()
        };
        for process in &of_it {
            self.die(process, "ended by the test");
        }
        !of_it.is_empty()
    }

    /// Has the vCPUs of a sandbox's machine stop of themselves. Says whether they ran.
    pub fn halt_machine(&self, sandbox: &SandboxId, why: Halt) -> bool {
        let processes = self.living();
        let mut of_it = processes.values().filter(|it| it.sandbox == *sandbox);
        of_it.next().is_some_and(|process| process.halt(why))
    }

    /// Ends all processes at once, as the host's own end does.
    pub fn lose_power(&self) {
        let all: Vec<_> = self.living().values().cloned().collect();
        for process in &all {
            self.die(process, "the host lost power");
        }
    }

    /// Whose machines have ended without the daemon's doing since the last time this was asked.
    pub fn deaths(&self) -> Vec<SandboxId> {
        std::mem::take(&mut *lock(&self.inner.deaths))
    }

    /// Has the agent of a sandbox's machine answer no more, or again. Says whether there is one.
    pub fn silence(&self, sandbox: &SandboxId, silent: bool) -> bool {
        let processes = self.living();
        let mut of_it = processes.values().filter(|it| it.sandbox == *sandbox);
        let first = of_it.next();
        if let Some(process) = first {
            process.guest.silence(silent);
        }
        first.is_some()
    }

    pub(super) fn number(&self) -> u64 {
        self.inner.ground.number()
    }

    pub(super) fn reap(&self, process: &Process, log: &str) {
        self.living().remove(&process.id.pid);
        process.end(log);
    }

    fn die(&self, process: &Process, log: &str) {
        lock(&self.inner.deaths).push(process.sandbox.clone());
        self.reap(process, log);
    }

    /// Does a call, which may break.
    pub(super) async fn call<T: Send>(
        &self,
        call: Call,
        process: Option<&Process>,
        effect: impl FnOnce() -> Result<T, VmmError> + Send,
    ) -> Result<T, VmmError> {
        let faults = &self.inner.faults;
        let begin = || match process.and_then(Process::log_if_ended) {
            Some(log) => Err(VmmError::Ended {
                action: call.as_str(),
                log,
            }),
            None => effect(),
        };
        match faults.meet(call) {
            None => begin(),
            Some(Act::Fail) => Err(refused(call)),
            Some(Act::FailAfter) => {
                begin()?;
                Err(refused(call))
            }
            Some(Act::TimeOut) => {
                tokio::time::sleep(CALL_LIMIT).await;
                Err(VmmError::Timeout {
                    action: call.as_str(),
                    limit: CALL_LIMIT,
                })
            }
            Some(Act::Hang) => {
                faults.hang().await;
                begin()
            }
            Some(Act::HangAfter) => {
                let result = begin();
                faults.hang().await;
                result
            }
            Some(Act::Die) => {
                if let Some(process) = process {
                    self.die(process, "died in the middle of a call");
                }
                Err(VmmError::Ended {
                    action: call.as_str(),
                    log: "died in the middle of a call".to_owned(),
                })
            }
        }
    }

    fn start(&self, spec: &MachineSpec) -> Result<Arc<Process>, VmmError> {
        let files = |action| move |source| VmmError::Files { action, source };
        let ground = &self.inner.ground;
        let state = match &spec.state {
            Some(path) => {
                let state: Option<State> = record::read(path).map_err(files("open the state"))?;
                Some(state.ok_or_else(|| gave_up("the state is empty"))?)
            }
            None => None,
        };
        let path = spec.dir.join(file::MEMORY);
        let mapped = Mapped {
            file: fs_err::File::open(&path).map_err(files("open the memory"))?,
            record: record::read::<Memory>(&path).map_err(files("read the memory"))?,
            path,
        };
        let len = mapped.file.metadata().map_err(files("open the memory"))?;
        if len.len() != spec.memory.bytes() {
            return Err(gave_up("the memory file has another size"));
        }
        if let Some(state) = state {
            if (state.cpus, state.memory) != (spec.cpus.get(), spec.memory.bytes()) {
                return Err(gave_up("the state is of another machine"));
            }
            let given = spec.volumes.iter().fold(0, |bits, it| bits | 1 << it.slot);
            if state.slots != given {
                ground.violated(format!(
                    "{}: state with volumes {:b} is loaded with {given:b}",
                    spec.sandbox, state.slots
                ));
            }
            if mapped
                .record
                .is_none_or(|memory| memory.save != state.save || memory.torn)
            {
                ground.violated(format!(
                    "{}: state of save {} with memory {:?}",
                    spec.sandbox, state.save, mapped.record
                ));
            }
        }
        let disk = spec.disk.then(|| spec.dir.join(file::DISK));
        let inode = match &disk {
            Some(path) => {
                let found = fs_err::metadata(path).map_err(files("open the disk"))?;
                Some((found.dev(), found.ino()))
            }
            None => None,
        };
        let mut processes = self.living();
        for other in processes.values() {
            if inode.is_some() && other.disk == inode {
                ground.violated(format!(
                    "{}: its disk is that of {}, which lives",
                    spec.sandbox, other.sandbox
                ));
            }
        }
        let number = ground.number();
        let id = ProcessId {
            pid: FIRST_PID + number as u32,
            start_time: number,
        };
        let guest = Guest::new(
            spec.sandbox.clone(),
            Arc::clone(ground),
            disk,
            mapped,
            state.is_some(),
        );
        let process = Arc::new(Process::new(id, spec, inode, guest));
        for volume in &spec.volumes {
            let others = processes.values().map(|other| &other.volumes);
            if let Some(wrong) = process.volumes.plug(volume, others) {
                ground.violated(format!("{}: {wrong}", spec.sandbox));
            }
            // Where it was mounted stands in the guest's memory, which nobody here can read.
            process.guest.system.plug_mounted(&volume.serial, "/");
        }
        processes.insert(id.pid, Arc::clone(&process));
        self.inner.launches.fetch_add(1, Ordering::Relaxed);
        Ok(process)
    }

    /// Plugs a volume into a process.
    pub(super) fn plug(&self, process: &Process, volume: &VolumeDisk) -> Result<(), VmmError> {
        fs_err::metadata(&volume.path).map_err(|source| VmmError::Files {
            action: "open a volume",
            source,
        })?;
        let processes = self.living();
        let others = processes.values().filter(|other| other.id != process.id);
        let others = others.map(|other| &other.volumes);
        if let Some(wrong) = process.volumes.plug(volume, others) {
            let text = format!("{}: {wrong}", process.sandbox);
            self.inner.ground.violated(text);
        }
        process.guest.system.plug(&volume.serial);
        Ok(())
    }

    /// Pulls one out again.
    pub(super) fn unplug(&self, process: &Process, slot: u8) {
        if let Some(serial) = process.volumes.unplug(slot)
            && !process.guest.system.unplug(&serial)
        {
            let text = format!("{}: a mounted volume is pulled out", process.sandbox);
            self.inner.ground.violated(text);
        }
    }

    fn living(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Process>>> {
        lock(&self.inner.processes)
    }

    fn process(&self, id: ProcessId) -> Option<Arc<Process>> {
        let processes = self.living();
        let found = processes.get(&id.pid).filter(|it| it.id == id);
        found.cloned()
    }
}

#[async_trait]
impl Vmm for FakeHost {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn version(&self) -> Result<String, VmmError> {
        Ok("fake VMM 1".to_owned())
    }

    async fn launch(&self, spec: &MachineSpec) -> Result<Arc<dyn Machine>, VmmError> {
        // Kept outside of the call, so that a launch that fails in its middle leaves nothing.
        let started = Mutex::new(None);
        let launched = self.call(Call::Launch, None, || {
            let process = self.start(spec)?;
            *lock(&started) = Some(Arc::clone(&process));
            Ok(process)
        });
        match launched.await {
            Ok(process) => Ok(Arc::new(FakeMachine::new(self.clone(), process))),
            Err(error) => {
                if let Some(process) = lock(&started).take() {
                    self.reap(&process, "its launch failed");
                }
                Err(error)
            }
        }
    }

    async fn adopt(
        &self,
        dir: &Path,
        process: ProcessId,
    ) -> Result<Option<Arc<dyn Machine>>, VmmError> {
        let found = self.process(process).filter(|it| it.dir == dir);
        let adopt = || Ok(found.clone());
        let adopted = self.call(Call::Adopt, found.as_deref(), adopt).await?;
        Ok(adopted.map(|process| {
            let machine: Arc<dyn Machine> = Arc::new(FakeMachine::new(self.clone(), process));
            machine
        }))
    }

    async fn find(&self, data_dir: &DataDirId, root: &Path) -> Result<Vec<Found>, VmmError> {
        let find = || {
            let processes = self.living();
            let marked = processes
                .values()
                .filter(|process| process.data_dir == *data_dir && process.dir.starts_with(root));
            let found = marked.map(|process| Found {
                sandbox: process.sandbox.clone(),
                process: process.id,
            });
            Ok(found.collect())
        };
        self.call(Call::Find, None, find).await
    }

    async fn end(&self, process: ProcessId) -> Result<(), VmmError> {
        let end = || {
            if let Some(process) = self.process(process) {
                self.reap(&process, "ended by the daemon");
            }
            Ok(())
        };
        self.call(Call::End, None, end).await
    }
}

fn refused(call: Call) -> VmmError {
    VmmError::Refused {
        command: call.as_str(),
        description: "a fault was put in".to_owned(),
    }
}

/// As a VMM that ends because of what it was given.
fn gave_up(log: &str) -> VmmError {
    VmmError::Ended {
        action: "start",
        log: log.to_owned(),
    }
}

/// Whoever panics with one of these locked has failed its test.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Device state as it is saved.
pub(super) fn save(process: &Process, number: u64, state: &Path, memory: &Path) -> io::Result<()> {
    process.guest.save_memory(memory, number)?;
    record::write(
        state,
        &State {
            save: number,
            cpus: process.cpus,
            memory: process.memory,
            slots: process.volumes.slots(),
        },
    )
}
