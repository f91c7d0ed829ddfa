//! What the engine is told at its start.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use bhatti_backup::s3::S3Settings;
pub use bhatti_host::pool::settings::{StorageChoice, StorageSettings};
pub use bhatti_image::convert::options::Options as ConvertOptions;
pub use bhatti_image::oci::http::Options as RegistryOptions;
pub use bhatti_image::proxies::Proxies;
pub use bhatti_lifecycle::idle::IdlePolicy;
pub use bhatti_lifecycle::schedule::{Cron, Schedule};
pub use bhatti_net::range::{DEFAULT as DEFAULT_NETWORK_RANGE, Range as NetworkRange};
pub use bhatti_net::settings::{NetworkChoice, NetworkSettings};
use bhatti_types::name::{UserName, VolumeName};

use crate::fault::{Faults, NoFaults};

/// Settings of the engine.
#[derive(Clone)]
pub struct EngineConfig {
    /// The data directory; it exists and is private to the daemon's user.
    pub data_dir: PathBuf,
    /// The QEMU program: a name looked up on the usual path, or an absolute path.
    pub qemu: PathBuf,
    /// Which accelerator to use.
    pub accelerator: AcceleratorChoice,
    /// Most templates that are kept; with 0, every create boots.
    pub max_templates: usize,
    /// Most started clones in stock for each template; with 0, there are none.
    pub pool: usize,
    /// What machines that are awake may have together, in bytes, if that is less than what the host
    /// has for them.
    pub memory_limit: Option<u64>,
    /// What holds for idle sandboxes of which nothing else is set.
    pub idle: IdlePolicy,
    /// How long a request waits for a sandbox to wake; longer and it is told to ask again.
    pub wake_limit: Duration,
    /// Where machines' files are kept.
    pub storage: StorageSettings,
    /// Networks of machines.
    pub network: NetworkSettings,
    /// Where volumes are backed up to, and when.
    pub backup: BackupSettings,
    /// How layers are made disks.
    pub convert: ConvertOptions,
    /// How registries are reached.
    pub registries: RegistryOptions,
    /// Asked before and after each step; tests make it fail or end the process.
    pub faults: Arc<dyn Faults>,
}

/// Templates that are kept if nothing else is said.
pub const DEFAULT_MAX_TEMPLATES: usize = 16;
/// Started clones in stock for each template if nothing else is said.
pub const DEFAULT_POOL: usize = 2;

impl EngineConfig {
    /// The defaults over a data directory, which is used as it is: only who asks for a pool gets
    /// one, for it stays mounted when the engine is gone. There is no stock of started clones,
    /// and no network.
    pub fn new(data_dir: PathBuf) -> Self {
        Self {
            data_dir,
            qemu: PathBuf::from("qemu-system-x86_64"),
            accelerator: AcceleratorChoice::Auto,
            max_templates: DEFAULT_MAX_TEMPLATES,
            pool: 0,
            memory_limit: None,
            storage: StorageSettings {
                choice: StorageChoice::Plain,
                ..StorageSettings::default()
            },
            network: NetworkSettings {
                choice: NetworkChoice::Off,
                ..NetworkSettings::default()
            },
            convert: ConvertOptions::of_this_program(),
            registries: RegistryOptions::default(),
            idle: IdlePolicy::default(),
            wake_limit: Duration::from_mins(1),
            backup: BackupSettings::default(),
            faults: Arc::new(NoFaults),
        }
    }
}

/// Where volumes are backed up to, and when.
#[derive(Debug, Clone, Default)]
pub struct BackupSettings {
    /// S3-compatible storage.
    pub s3: Option<S3Settings>,
    /// A directory, which is there when it is to be used.
    pub directory: Option<PathBuf>,
    /// What is backed up by itself.
    pub schedule: Vec<ScheduledBackup>,
}

/// A volume that is backed up by itself.
#[derive(Debug, Clone)]
pub struct ScheduledBackup {
    /// Its owner.
    pub user: UserName,
    /// The volume.
    pub volume: VolumeName,
    /// When.
    pub when: Schedule,
    /// How many of its backups are kept; all if `None`.
    pub retention: Option<usize>,
    /// Where it goes; where backups go if nothing is said if `None`.
    pub to: Option<BackupTarget>,
}

/// Where backups go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackupTarget {
    /// To S3-compatible storage.
    S3,
    /// To a directory.
    Directory,
}

impl BackupTarget {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Directory => "directory",
        }
    }
}

/// Which accelerator to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AcceleratorChoice {
    /// KVM if a small guest really boots under it, else TCG.
    #[default]
    Auto,
    /// KVM, without trying.
    Kvm,
    /// TCG: software emulation.
    Tcg,
}
