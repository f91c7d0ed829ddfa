//! A guest: what its commands do, what it remembers, and whether it runs.
//!
//! Commands are shell scripts, as `sh -c SCRIPT`; these are known:
//!
//! | script | does |
//! |---|---|
//! | `read` | prints the boot's number, the numbers in memory and on the disk, and the host name |
//! | `remember N` | sets the number in memory |
//! | `store N` | sets the number on the disk |
//!
//! A boot takes the number in memory from the disk. A command that comes to a guest whose vCPUs
//! are paused is done when they run again, as its answer is.

use std::io::{PipeWriter, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bhatti_types::id::SandboxId;
use lohar::fake::FakeSystem;
use lohar::reaper::Ended;
use tokio::sync::oneshot;

use super::gate::Passage;
use super::host::Ground;
use super::record::{self, Disk, Memory};

/// Whether vCPUs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vcpus {
    /// They stand still.
    Paused,
    /// They run.
    Running,
    /// The machine is gone.
    Gone,
}

/// The file that a machine's memory is mapped from.
#[derive(Debug)]
pub(super) struct Mapped {
    pub(super) path: PathBuf,
    pub(super) file: fs_err::File,
    /// What it held when it was mapped; `None` for new memory.
    pub(super) record: Option<Memory>,
}

/// A guest.
#[derive(Debug)]
pub(super) struct Guest {
    sandbox: SandboxId,
    ground: Arc<Ground>,
    disk: Option<PathBuf>,
    mapped: Mapped,
    /// What its agent did to it; a new one for each machine.
    pub(super) system: Arc<FakeSystem>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    vcpus: Vcpus,
    /// The agent does not answer although the vCPUs run.
    silent: bool,
    /// `None` before the boot.
    memory: Option<Memory>,
    /// Tasks of the agent that stand still, or would have to if the vCPUs did.
    wakers: Vec<Waker>,
    /// Commands that have come and are done when the vCPUs run.
    waiting: Vec<Command>,
}

/// A command that was started.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) script: String,
    pub(super) stdout: PipeWriter,
    pub(super) ended: oneshot::Sender<Ended>,
}

impl Guest {
    /// A guest before its first instruction, or where `mapped` left off.
    pub(super) fn new(
        sandbox: SandboxId,
        ground: Arc<Ground>,
        disk: Option<PathBuf>,
        mapped: Mapped,
        goes_on: bool,
    ) -> Self {
        let memory = mapped.record.filter(|_| goes_on);
        Self {
            sandbox,
            ground,
            disk,
            mapped,
            system: Arc::default(),
            inner: Mutex::new(Inner {
                vcpus: Vcpus::Paused,
                silent: false,
                memory,
                wakers: Vec::new(),
                waiting: Vec::new(),
            }),
        }
    }

    pub(super) fn vcpus(&self) -> Vcpus {
        self.inner().vcpus
    }

    /// Lets vCPUs run. A guest that runs writes to its disk, so both move on together.
    pub(super) fn run(&self) {
        let mut inner = self.inner();
        if inner.vcpus != Vcpus::Paused {
            return;
        }
        self.ground.about_to_run(&self.sandbox);
        if let Some(path) = &self.disk {
            let mut disk = self.disk(path);
            let memory = match inner.memory {
                Some(memory) => {
                    if memory.disk != disk.generation {
                        self.violated(&format!(
                            "memory of generation {} goes on over the disk's {}",
                            memory.disk, disk.generation
                        ));
                    }
                    memory
                }
                None => Memory {
                    boot: self.ground.number(),
                    value: disk.value,
                    disk: 0,
                    save: 0,
                    torn: false,
                },
            };
            disk.generation = self.ground.number();
            inner.memory = Some(Memory {
                disk: disk.generation,
                ..memory
            });
            self.write_disk(path, disk);
        }
        inner.vcpus = Vcpus::Running;
        for command in std::mem::take(&mut inner.waiting) {
            self.done(&mut inner, command);
        }
        wake(&mut inner);
    }

    pub(super) fn pause(&self) {
        let mut inner = self.inner();
        if inner.vcpus == Vcpus::Running {
            inner.vcpus = Vcpus::Paused;
        }
    }

    /// The end of its machine.
    pub(super) fn gone(&self) {
        let mut inner = self.inner();
        inner.vcpus = Vcpus::Gone;
        inner.waiting.clear();
        wake(&mut inner);
    }

    pub(super) fn silence(&self, silent: bool) {
        let mut inner = self.inner();
        inner.silent = silent;
        wake(&mut inner);
    }

    /// Writes memory to a file, over a copy of what it is mapped from.
    pub(super) fn save_memory(&self, to: &Path, save: u64) -> std::io::Result<()> {
        let inner = self.inner();
        let torn = inner.vcpus == Vcpus::Running;
        let mapped = self.mapped.file.metadata()?;
        let there = fs_err::metadata(&self.mapped.path)?;
        if (there.dev(), there.ino()) != (mapped.dev(), mapped.ino())
            || record::read::<Memory>(&self.mapped.path)? != self.mapped.record
        {
            self.violated("the file that memory is mapped from was changed");
        }
        bhatti_host::files::clone_file(&self.mapped.path, to)?;
        match inner.memory {
            Some(memory) => record::write(
                to,
                &Memory {
                    save,
                    torn,
                    ..memory
                },
            ),
            None => Ok(()),
        }
    }

    /// Whether the agent may read and write. One that may not is woken when it may.
    pub(super) fn poll_passage(&self, cx: &Context<'_>) -> Poll<Passage> {
        let mut inner = self.inner();
        // Kept even if it may: it may wait for the other end then, and its machine may go.
        if !inner.wakers.iter().any(|kept| kept.will_wake(cx.waker())) {
            inner.wakers.push(cx.waker().clone());
        }
        match inner.vcpus {
            Vcpus::Gone => Poll::Ready(Passage::Gone),
            Vcpus::Running if !inner.silent => Poll::Ready(Passage::Open),
            Vcpus::Running | Vcpus::Paused => Poll::Pending,
        }
    }

    /// Does a command, or keeps it for when the vCPUs run.
    pub(super) fn command(&self, command: Command) {
        if self.system.identities().is_empty() {
            self.violated("a command came to a guest that was not told who it is");
        }
        let mut inner = self.inner();
        match inner.vcpus {
            Vcpus::Running => self.done(&mut inner, command),
            Vcpus::Paused => inner.waiting.push(command),
            Vcpus::Gone => {}
        }
    }

    fn done(&self, inner: &mut Inner, mut command: Command) {
        let (text, code) = match self.script(inner, &command.script) {
            Some(text) => (text, 0),
            None => ("this guest does not know that command\n".to_owned(), 127),
        };
        // Whoever started it may have lost interest.
        let _ = command.stdout.write_all(text.as_bytes());
        drop(command.stdout);
        let _ = command.ended.send(Ended::Code(code));
    }

    fn script(&self, inner: &mut Inner, script: &str) -> Option<String> {
        let path = self.disk.as_ref()?;
        let memory = inner.memory.as_mut()?;
        let mut disk = self.disk(path);
        let mut words = script.split(' ');
        let (verb, number) = (words.next()?, words.next().map(str::parse::<u64>));
        match (verb, number) {
            ("read", None) => {
                let identities = self.system.identities();
                let hostname = identities.last().map(|identity| identity.hostname.clone());
                Some(format!(
                    "{} {} {} {}\n",
                    memory.boot,
                    memory.value,
                    disk.value,
                    hostname.unwrap_or_default()
                ))
            }
            ("remember", Some(Ok(number))) => {
                memory.value = number;
                Some(String::new())
            }
            ("store", Some(Ok(number))) => {
                disk = Disk {
                    generation: self.ground.number(),
                    value: number,
                };
                memory.disk = disk.generation;
                self.write_disk(path, disk);
                Some(String::new())
            }
            _ => None,
        }
    }

    fn disk(&self, path: &Path) -> Disk {
        match record::read(path) {
            Ok(disk) => disk.unwrap_or_default(),
            Err(error) => {
                self.violated(&format!("the disk of a machine can't be read: {error}"));
                Disk::default()
            }
        }
    }

    fn write_disk(&self, path: &Path, disk: Disk) {
        if let Err(error) = record::write(path, &disk) {
            self.violated(&format!("the disk of a machine can't be written: {error}"));
        }
    }

    fn violated(&self, what: &str) {
        self.ground.violated(format!("{}: {what}", self.sandbox));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(inner: &mut Inner) {
    for waker in inner.wakers.drain(..) {
        waker.wake();
    }
}
