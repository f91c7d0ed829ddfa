//! The traits, and what a machine is made of.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use bhatti_host::memory::Captured;
use bhatti_host::process::ProcessId;
use bhatti_types::id::{DataDirId, SandboxId};
use bhatti_types::mac::Mac;
use bhatti_types::size::{MemoryMb, Vcpus};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::VmmError;

/// Names of a machine's files inside its directory.
pub mod file {
    /// The disk, raw.
    pub const DISK: &str = "disk.raw";
    /// What guest memory is mapped from, privately; never written to while mapped.
    pub const MEMORY: &str = "mem";
    /// The VMM's standard output and error.
    pub const LOG: &str = "vmm.log";
    /// The agent link's socket.
    pub const AGENT_SOCKET: &str = "agent.sock";
    /// The control socket.
    pub const CONTROL_SOCKET: &str = "qmp.sock";
}

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// Software emulation.
    Tcg,
}

impl Accelerator {
    /// The word as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// Which virtual devices a machine has. Saved device state fits only the set it was saved with, and
/// a guest only has drivers for those that its kit was made for: the kit says which set it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Devices {
    /// A disk, randomness, the agent's port; a network card where one is wanted.
    V1,
    /// The same with a network card always, plugged into nothing where there is no network, and a
    /// SCSI controller that disks can be plugged into while the machine runs.
    V2,
}

impl Devices {
    /// The set by its number, as a guest kit has it.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }
}

/// A network card.
#[derive(Debug, Clone)]
pub struct Nic {
    /// What it is plugged into.
    pub tap: Tap,
    /// Its address, until its guest gives it another.
    pub mac: Mac,
}

/// A tap device.
#[derive(Debug, Clone)]
pub enum Tap {
    /// One that exists, in the network namespace that the VMM is started in, by its name.
    Named(String),
    /// One that was made for the VMM: its descriptor becomes the VMM's standard input.
    Open(Arc<OwnedFd>),
}

/// A volume's disk, on the SCSI controller of [`Devices::V2`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeDisk {
    /// Its place on the controller, where saved device state looks for it.
    pub slot: u8,
    /// The serial number that the guest sees: letters, digits and `_`, at most 36.
    pub serial: String,
    /// The file, raw.
    pub path: PathBuf,
    /// Whether the guest can't write to it. Then others may read the same file.
    pub read_only: bool,
}

/// A machine to be started.
#[derive(Debug, Clone)]
pub struct MachineSpec {
    /// The data directory it belongs to; with `sandbox` it marks the process.
    pub data_dir: DataDirId,
    /// The sandbox it is.
    pub sandbox: SandboxId,
    /// The directory with its files, which the VMM gets as its working directory.
    pub dir: PathBuf,
    /// vCPUs.
    pub cpus: Vcpus,
    /// Memory; [`file::MEMORY`] in `dir` has this size.
    pub memory: MemoryMb,
    /// The kernel, an ELF file.
    pub kernel: PathBuf,
    /// The initrd.
    pub initrd: PathBuf,
    /// bhatti's own words on the kernel command line.
    pub command_line: Vec<String>,
    /// Its set of devices.
    pub devices: Devices,
    /// Whether there is a disk, [`file::DISK`] in `dir`.
    pub disk: bool,
    /// Disks that are plugged in from the beginning: those that the saved state knows.
    pub volumes: Vec<VolumeDisk>,
    /// What its network card is plugged into. Without it, a machine of [`Devices::V1`] has none,
    /// and the card of later ones hears nothing.
    pub nic: Option<Nic>,
    /// What runs it.
    pub accelerator: Accelerator,
    /// Device state to go on from, in place of a boot.
    pub state: Option<PathBuf>,
}

/// Whether vCPUs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// They do.
    Running,
    /// They are paused and can go on.
    Paused,
    /// The guest has ended, or the VMM has stopped it for an error.
    Over,
}

/// Why vCPUs stand still although nobody has paused them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halt {
    /// The host has no room for what the guest writes to its disk; letting it run tries again.
    DiskFull,
    /// The host failed to write the guest's disk; letting it run tries again.
    DiskFailed,
    /// The VMM has not said.
    Unknown,
}

/// A VMM process found on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The sandbox it says it is.
    pub sandbox: SandboxId,
    /// The process.
    pub process: ProcessId,
}

/// The byte stream of an agent link.
pub trait AgentStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> AgentStream for T {}

/// Starts machines and finds them again.
#[async_trait]
pub trait Vmm: Send + Sync {
    /// The engine's name, as shown.
    fn name(&self) -> &'static str;

    /// The program's own words about its version; an error if it is not installed.
    async fn version(&self) -> Result<String, VmmError>;

    /// Starts a VMM with its vCPUs paused: before the first instruction, or where the saved state
    /// left off. On an error nothing of it runs.
    async fn launch(&self, spec: &MachineSpec) -> Result<Arc<dyn Machine>, VmmError>;

    /// Takes up a machine that an earlier daemon started; `None` if the process is gone.
    async fn adopt(
        &self,
        dir: &Path,
        process: ProcessId,
    ) -> Result<Option<Arc<dyn Machine>>, VmmError>;

    /// All VMM processes on the host that carry this data directory's mark and work in a
    /// directory under `root`.
    async fn find(&self, data_dir: &DataDirId, root: &Path) -> Result<Vec<Found>, VmmError>;

    /// Ends a process found by [`Vmm::find`] that nobody wants. Success if it is gone.
    async fn end(&self, process: ProcessId) -> Result<(), VmmError>;
}

/// One running VMM. All methods may be called at any time; commands wait for each other.
#[async_trait]
pub trait Machine: Send + Sync {
    /// Its process.
    fn process(&self) -> ProcessId;

    /// Lets vCPUs run. Success if they run already.
    async fn resume(&self) -> Result<(), VmmError>;

    /// Pauses vCPUs and drains the disk. Success if they are paused already.
    async fn pause(&self) -> Result<(), VmmError>;

    /// Whether vCPUs run.
    async fn run_state(&self) -> Result<RunState, VmmError>;

    /// Writes device state to `state` and memory to `memory`; vCPUs must be paused. The files are
    /// not yet durable. A flag that is set meanwhile breaks it off
    /// ([`VmmError::is_cancelled`]): the machine is as it was, and the files are the caller's to
    /// delete.
    async fn save(
        &self,
        state: &Path,
        memory: &Path,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Captured, VmmError>;

    /// Plugs a disk in. Success if the place holds a disk with its serial number already.
    async fn plug(&self, volume: &VolumeDisk) -> Result<(), VmmError>;

    /// Pulls the disk at a place out and lets go of its file. Success if there is none.
    async fn unplug(&self, slot: u8) -> Result<(), VmmError>;

    /// Makes the disk at a place, and its file, larger. Success if it has the size already.
    async fn grow(&self, slot: u8, bytes: u64) -> Result<(), VmmError>;

    /// Opens the host's end of the agent link. One at a time.
    async fn agent(&self) -> Result<Box<dyn AgentStream>, VmmError>;

    /// What the guest wrote to its console lately, for diagnosis; empty if it can't be had.
    async fn console(&self) -> String;

    /// Waits until vCPUs stand still although nobody has paused them, and says why; at once if
    /// they do so already. Never ends if the process does. Cancel-safe.
    async fn halted(&self) -> Halt;

    /// Waits for the end of the process and gives the end of its log. Cancel-safe.
    async fn ended(&self) -> String;

    /// Ends the process at once and waits until it is gone. Success if it is gone already.
    async fn kill(&self) -> Result<(), VmmError>;
}
