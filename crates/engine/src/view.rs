//! What callers are shown.

pub use bhatti_guest::exec::ExitStatus;
pub use bhatti_guest::service::{Logs, LogsWanted, Phase, ServiceStatus};
use std::net::Ipv4Addr;

pub use bhatti_host::extents::Usage;
pub use bhatti_image::catalog::Owner;
pub use bhatti_image::image::ImageConfig;
pub use bhatti_lifecycle::tree::{Member, Placed};
use bhatti_store::attachment::AttachedVolume;
use bhatti_types::egress::Egress;
use bhatti_types::id::{BackupId, ImageId, SandboxId, SnapshotId, TemplateId, UserId, VolumeId};
use bhatti_types::idle::IdleSettings;
use bhatti_types::labels::Labels;
use bhatti_types::mount::MountPath;
use bhatti_types::name::{ImageName, SandboxName, SnapshotName, UserName, VolumeName};
use bhatti_types::parent::Parent;
use bhatti_types::run::{Init, RunSpec};
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus, VolumeMb};
use bhatti_types::state::{Status, Thermal};
use jiff::Timestamp;

pub use crate::config::BackupTarget;
pub use crate::idle_view::{IdleView, Next};
pub use crate::sandbox::leases::{Held, Lease};

/// A sandbox as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxView {
    /// Its id.
    pub id: SandboxId,
    /// Its owner.
    pub user: UserId,
    /// Its name.
    pub name: SandboxName,
    /// Its status.
    pub status: Status,
    /// Where its memory is.
    pub thermal: Thermal,
    /// Why it failed or last ended unasked.
    pub reason: Option<String>,
    /// The engine it runs on.
    pub engine: String,
    /// `kvm` or `tcg`, once it has run.
    pub accelerator: Option<String>,
    /// vCPUs.
    pub cpus: Vcpus,
    /// Memory.
    pub memory: MemoryMb,
    /// Disk.
    pub disk: DiskMb,
    /// Image it was made from.
    pub image: ImageName,
    /// Labels.
    pub labels: Labels,
    /// User that commands run as, from the image if none was asked for; root if missing.
    pub run_as: Option<String>,
    /// The checkpoint it was resumed from.
    pub resumed_from: Option<SnapshotName>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last stopped.
    pub stopped_at: Option<Timestamp>,
    /// What is set for it about idling.
    pub idle: IdleSettings,
    /// When it was last used before it was last paused or put to disk.
    pub used_at: Option<Timestamp>,
    /// When its guest wants to be woken.
    pub wake_at: Option<Timestamp>,
    /// What it descends from.
    pub parent: Option<Parent>,
    /// Its address in its user's network, if it has one.
    pub address: Option<Ipv4Addr>,
    /// What it may reach.
    pub egress: Egress,
    /// Its volumes, by their places.
    pub volumes: Vec<AttachedView>,
    /// What its process 1 is.
    pub init: Init,
    /// The program that it keeps running.
    pub run: Option<RunSpec>,
}

/// A volume of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedView {
    /// The volume's name.
    pub name: VolumeName,
    /// Where it is mounted.
    pub mount: MountPath,
    /// Whether nothing can be written to it.
    pub read_only: bool,
}

impl AttachedView {
    pub(crate) fn of(attached: &AttachedVolume) -> Self {
        Self {
            name: attached.name.clone(),
            mount: attached.at.mount.clone(),
            read_only: attached.at.read_only,
        }
    }
}

/// A volume as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeView {
    /// Its id.
    pub id: VolumeId,
    /// Its owner.
    pub user: UserId,
    /// Its name.
    pub name: VolumeName,
    /// Its size.
    pub size: VolumeMb,
    /// Who has it.
    pub holders: Vec<HolderView>,
    /// What it takes on disk now; `None` if it can't be told.
    pub usage: Option<Usage>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A backup of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupView {
    /// Its id.
    pub id: BackupId,
    /// Where it is.
    pub target: BackupTarget,
    /// Size of the volume, in bytes.
    pub size_bytes: u64,
    /// What it holds, in bytes.
    pub data_bytes: u64,
    /// What was sent for it, compressed, in bytes.
    pub sent_bytes: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A sandbox that has a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderView {
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Its name; `None` of one that is just going away.
    pub name: Option<SandboxName>,
    /// Where it is mounted.
    pub mount: MountPath,
    /// Whether it can only be read there.
    pub read_only: bool,
    /// Whether it goes away with the sandbox.
    pub owned: bool,
}

/// What a list in four columns shows of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxLineView {
    /// Its name.
    pub name: SandboxName,
    /// Its status.
    pub status: Status,
    /// Where its memory is.
    pub thermal: Thermal,
}

/// The answer to a create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The sandbox.
    pub sandbox: SandboxView,
    /// Whether it was there already under that name.
    pub existing: bool,
}

/// The answer to a rollback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolledBackView {
    /// The sandbox.
    pub sandbox: SandboxView,
    /// The automatic checkpoint of what it was before, unless there was nothing to keep.
    pub kept: Option<SnapshotName>,
}

/// A checkpoint as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotView {
    /// Its id.
    pub id: SnapshotId,
    /// Its owner.
    pub user: UserId,
    /// Its name.
    pub name: SnapshotName,
    /// The sandbox it was taken of.
    pub source: SandboxName,
    /// Memory of the machine.
    pub memory: MemoryMb,
    /// What its files took on disk when it was taken, in bytes, shared or not.
    pub disk_bytes: u64,
    /// What its files take on disk now; `None` if it can't be told.
    pub usage: Option<Usage>,
    /// How long the source stood still, in milliseconds.
    pub stall_ms: u64,
    /// It was taken before a rollback, and not asked for by anybody.
    pub automatic: bool,
    /// When it was taken.
    pub created_at: Timestamp,
}

/// One line of the tree of who descends from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeView {
    /// Its place.
    pub placed: Placed,
    /// What it is.
    pub what: Descendant,
}

/// What stands at a place of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Descendant {
    /// A sandbox.
    Sandbox(Box<SandboxView>),
    /// A checkpoint.
    Snapshot(Box<SnapshotView>),
    /// One that is gone.
    Deleted,
}

/// Why a user sees an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// It is the user's own.
    Own,
    /// Its owner shares it with the user.
    Shared,
    /// It is the host's: all users see it.
    Host,
}

impl Scope {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Shared => "shared",
            Self::Host => "host",
        }
    }
}

/// An image as a user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageView {
    /// Its id.
    pub id: ImageId,
    /// Whose it is.
    pub owner: Owner,
    /// The owner's name; `None` if it is the host's.
    pub owner_name: Option<UserName>,
    /// Why the user sees it.
    pub scope: Scope,
    /// Its name means another image to the user, so that it is got at by its id only.
    pub hidden: bool,
    /// Who else sees it, if it is the user's own.
    pub shared_with: Vec<UserName>,
    /// Its name.
    pub name: ImageName,
    /// Where it came from.
    pub source: String,
    /// Digest of what it was made from.
    pub digest: String,
    /// Size of its file system in MiB.
    pub size_mb: u64,
    /// What it takes on disk; `None` if it can't be told.
    pub usage: Option<Usage>,
    /// When it was made.
    pub created_at: Timestamp,
    /// How commands run in machines of it.
    pub config: ImageConfig,
}

/// An image that was deleted, and what that did to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedImageView {
    /// Its name.
    pub name: ImageName,
    /// How many templates went with it.
    pub templates: usize,
    /// The caller's sandboxes that were made from an image of this name: they go on.
    pub sandboxes: Vec<SandboxName>,
}

/// A template as users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateView {
    /// Its id.
    pub id: TemplateId,
    /// The image it booted from.
    pub image: ImageName,
    /// vCPUs.
    pub cpus: Vcpus,
    /// Memory.
    pub memory: MemoryMb,
    /// Disk.
    pub disk: DiskMb,
    /// The guest kit it booted with.
    pub kit: String,
    /// The engine it runs on.
    pub engine: String,
    /// `kvm` or `tcg`.
    pub accelerator: String,
    /// How many machines were made from it.
    pub uses: u64,
    /// When one was last made from it.
    pub used_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What its files take on disk; `None` if it can't be told.
    pub usage: Option<Usage>,
    /// How many started clones of it wait to be used.
    pub pool: usize,
}

/// A user as the administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub name: UserName,
    /// Most sandboxes at once.
    pub max_sandboxes: u32,
    /// Most vCPUs of one sandbox.
    pub max_cpus_per_sandbox: u32,
    /// Most memory of one sandbox, in MiB.
    pub max_memory_mb_per_sandbox: u32,
    /// Most checkpoints at once.
    pub max_snapshots: u32,
    /// Most storage of all volumes together, in MiB.
    pub max_volume_mb: u32,
    /// Most images of its own at once.
    pub max_images: u32,
    /// What is set for its sandboxes about idling.
    pub idle: IdleSettings,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A detached command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachedView {
    /// Its process id in the guest.
    pub pid: u32,
    /// The file in the guest that takes its output.
    pub output_file: String,
}

/// How putting all machines to sleep went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SleepAllView {
    /// How many sleep, those that slept already not counted.
    pub asleep: usize,
    /// Those that do not, with their reasons.
    pub awake: Vec<AwakeView>,
}

/// A machine that was not put to sleep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwakeView {
    /// Its owner.
    pub user: UserId,
    /// Its name.
    pub name: SandboxName,
    /// Why it is awake.
    pub reason: String,
}

/// What the daemon says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostView {
    /// The guest kit new machines get, if there is one.
    pub kit: Option<String>,
    /// The accelerator in use, once it is known.
    pub accelerator: Option<String>,
    /// Where machines' files are kept.
    pub storage: StorageView,
    /// Whether machines have networks.
    pub network: NetworkView,
}

/// Where machines' files are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageView {
    /// How they are copied: `reflink`, `pool` or `copy`.
    pub kind: &'static str,
    /// Room for more, in bytes, the host's reserve taken off.
    pub free_bytes: u64,
    /// All room, in bytes.
    pub size_bytes: u64,
}

/// Whether machines have networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkView {
    /// They have.
    On,
    /// They have not: why.
    Off(String),
}
