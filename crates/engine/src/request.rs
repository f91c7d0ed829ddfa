//! What callers ask for, already checked.

use std::time::Duration;

use bhatti_types::egress::{Egress, EgressEdit};
use bhatti_types::env::Env;
use bhatti_types::id::UserId;
use bhatti_types::idle::{IdleSettings, IdleTime};
use bhatti_types::invalid::Invalid;
use bhatti_types::labels::Labels;
use bhatti_types::mount::MountPath;
use bhatti_types::name::{ImageName, SandboxName, UserName, VolumeName};
use bhatti_types::run::{Init, RestartPolicy};
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus, VolumeMb};

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user whose things are meant.
    pub user: UserId,
    /// The user's name, for the log.
    pub name: UserName,
    /// What else the caller may do.
    pub role: Role,
}

/// What a caller may do besides using its own things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    User,
    /// Manage users and the host: whoever can reach the unix socket.
    Admin,
}

/// A new sandbox.
#[derive(Debug, Clone, Default)]
pub struct NewSandbox {
    /// Its name; one is made up if `None`.
    pub name: Option<SandboxName>,
    /// The sandbox it is a copy of, by name or id; what follows is then the source's.
    pub from: Option<String>,
    /// Its image; `base` if `None`.
    pub image: Option<ImageName>,
    /// vCPUs.
    pub cpus: Vcpus,
    /// Memory.
    pub memory: MemoryMb,
    /// Disk; the image's own size if `None`.
    pub disk: Option<DiskMb>,
    /// Environment of every command.
    pub env: Env,
    /// Labels.
    pub labels: Labels,
    /// User that commands run as, in place of the image's own.
    pub run_as: Option<String>,
    /// What is set for it about idling.
    pub idle: IdleSettings,
    /// What it may reach.
    pub egress: Egress,
    /// What its process 1 is; what its image asks for if `None`.
    pub init: Option<Init>,
    /// The program that it is to keep running.
    pub run: Option<NewRun>,
    /// How long to wait for room in the host's memory before giving up; not at all if `None`.
    pub wait: Option<Duration>,
    /// Its volumes; at most [`bhatti_types::mount::MAX_VOLUMES`].
    pub volumes: Vec<NewAttachment>,
}

/// A volume that a sandbox is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAttachment {
    /// The volume's name.
    pub name: VolumeName,
    /// Where it is mounted.
    pub mount: MountPath,
    /// Whether nothing can be written to it. Then others may read it too.
    pub read_only: bool,
    /// Made with this size if there is none of that name.
    pub create: Option<VolumeMb>,
}

/// A program that a new sandbox is to keep running.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRun {
    /// The program and its first arguments, in place of the image's own; the image's arguments
    /// are then left out too.
    pub entrypoint: Option<Vec<String>>,
    /// The arguments after these, in place of the image's own unless empty.
    pub cmd: Vec<String>,
    /// Whether it is started again when it has ended.
    pub restart: RestartPolicy,
}

/// A change of a sandbox. What is `None` or empty stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EditSandbox {
    /// Its new name. The hostname inside follows, when the machine is hot.
    pub name: Option<SandboxName>,
    /// Labels to set.
    pub labels_add: Labels,
    /// Keys of labels to take off, before the others are set.
    pub labels_remove: Vec<String>,
    /// What is set about idling.
    pub idle: IdleEdit,
    /// What it may reach.
    pub egress: EgressEdit,
}

/// A change of an idle time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TimeEdit {
    /// It stays as it is.
    #[default]
    Leave,
    /// What is set one up holds again.
    Inherit,
    /// It becomes this.
    Set(IdleTime),
}

impl TimeEdit {
    fn onto(self, setting: Option<IdleTime>) -> Option<IdleTime> {
        match self {
            Self::Leave => setting,
            Self::Inherit => None,
            Self::Set(time) => Some(time),
        }
    }
}

/// A change of what is set about idling. What is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IdleEdit {
    /// Until vCPUs are paused.
    pub pause_after: TimeEdit,
    /// Until memory goes to disk.
    pub cold_after: TimeEdit,
    /// Whether it is kept hot.
    pub keep_hot: Option<bool>,
    /// Share of a core above which it counts as used, in per cent; 0 for never.
    pub busy_cpu: Option<u8>,
    /// Whether it is woken for its guest's timers.
    pub wake_timers: Option<bool>,
}

impl IdleEdit {
    /// The settings after the change.
    #[must_use]
    pub fn onto(self, settings: IdleSettings) -> IdleSettings {
        IdleSettings {
            pause_after: self.pause_after.onto(settings.pause_after),
            cold_after: self.cold_after.onto(settings.cold_after),
            keep_hot: self.keep_hot.or(settings.keep_hot),
            busy_cpu: self.busy_cpu.or(settings.busy_cpu),
            wake_timers: self.wake_timers.or(settings.wake_timers),
        }
    }
}

/// Copies of a sandbox.
#[derive(Debug, Clone)]
pub struct NewCopies {
    /// The name of one, or what the names of several begin with; the source's with `-fork` if
    /// `None`.
    pub name: Option<SandboxName>,
    /// How many.
    pub count: Copies,
    /// How long to wait for room in the host's memory before giving up; not at all if `None`.
    pub wait: Option<Duration>,
}

/// How many copies a fork makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies(u32);

impl Copies {
    /// One.
    pub const ONE: Self = Self(1);
    /// Most at once.
    pub const MAX: u32 = 100;

    /// So many, if that is from 1 to [`Copies::MAX`].
    pub fn new(count: u64) -> Result<Self, Invalid> {
        match u32::try_from(count) {
            Ok(count @ 1..=Self::MAX) => Ok(Self(count)),
            Ok(_) | Err(_) => Err(Invalid::new(
                "number of copies",
                &count.to_string(),
                format!("must be from 1 to {}", Self::MAX),
            )),
        }
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// What a template is to be made ready for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// vCPUs.
    pub cpus: Vcpus,
    /// Memory.
    pub memory: MemoryMb,
    /// Disk; the image's own size if `None`.
    pub disk: Option<DiskMb>,
}

/// A command to run in a sandbox.
#[derive(Debug, Clone)]
pub struct NewExec {
    /// Program and arguments; not empty, no NUL.
    pub argv: Vec<String>,
    /// Environment over the sandbox's.
    pub env: Env,
    /// Working directory, absolute.
    pub workdir: Option<String>,
    /// User name, uid, or `user:group`.
    pub user: Option<String>,
    /// Time limit.
    pub timeout: Option<Duration>,
    /// Whether standard input will be written.
    pub stdin: bool,
}

/// A new user. `None` is the default limit.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Its name.
    pub name: UserName,
    /// Most sandboxes at once.
    pub max_sandboxes: Option<u32>,
    /// Most vCPUs of one sandbox.
    pub max_cpus_per_sandbox: Option<u32>,
    /// Most memory of one sandbox, in MiB.
    pub max_memory_mb_per_sandbox: Option<u32>,
    /// Most checkpoints at once.
    pub max_snapshots: Option<u32>,
    /// Most storage of all volumes together, in MiB.
    pub max_volume_mb: Option<u32>,
    /// Most images of its own at once.
    pub max_images: Option<u32>,
}

/// A change of a user. What is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UserEdit {
    /// What its sandboxes do when idle.
    pub idle: IdleEdit,
    /// Most images of its own at once.
    pub max_images: Option<u32>,
}

/// Whose a new image becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImagePlace {
    /// The caller's own.
    #[default]
    Own,
    /// The host's, for all users; for the administrator.
    Host,
}
