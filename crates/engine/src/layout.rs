//! Where things lie in the data directory.

use std::path::{Path, PathBuf};

use bhatti_types::id::{SandboxId, SnapshotId, TemplateId, VolumeId};

/// Names of the files of a checkpoint or cold image.
pub mod file {
    /// What the image is, with the sizes and digests of the others.
    pub const MANIFEST: &str = "manifest";
    /// Device state.
    pub const STATE: &str = "state";
    /// Memory, zeros left out as holes.
    pub const MEMORY: &str = "mem";
    /// The disk, in checkpoints and templates.
    pub const DISK: &str = "disk.raw";
    /// What a template was made of; its digest is the template's id.
    pub const SHAPE: &str = "template.json";
    /// How often a template was used; written with every use, so its time is that of the last.
    pub const USED: &str = "used";
    /// In a sandbox's directory: the path, within the data directory, of the image whose disk its
    /// own was last cloned from or to.
    pub const DISK_BASE: &str = "disk.base";
    /// Next to what a sandbox is put back to: which file goes where. Once it is there, all of them
    /// do, whatever happens.
    pub const SWAP: &str = "swap";
}

/// Beginning of the names of directories that are not whole yet; always safe to delete at the
/// start of a daemon.
pub const HALF_MADE: &str = ".new-";

/// The paths of one data directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
    /// What holds machines and what they are made from: the data directory itself, or its pool.
    storage: PathBuf,
}

impl Layout {
    /// The paths under `root`, machines among them.
    pub fn new(root: PathBuf) -> Self {
        Self {
            storage: root.clone(),
            root,
        }
    }

    /// The same with machines, and what they are made from, under `storage`: one file system that
    /// shares blocks if there is one.
    pub fn with_storage(self, storage: PathBuf) -> Self {
        Self { storage, ..self }
    }

    /// What holds machines and what they are made from.
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// The data directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("state.db")
    }

    /// The file with the data directory's id.
    pub fn id(&self) -> PathBuf {
        self.root.join("id")
    }

    /// What the probe of the accelerator found.
    pub fn accelerator(&self) -> PathBuf {
        self.root.join("accel.json")
    }

    /// Guest kits.
    pub fn kits(&self) -> PathBuf {
        self.root.join("kits")
    }

    /// Images.
    pub fn images(&self) -> PathBuf {
        self.storage.join("images")
    }

    /// The layers that images were made from.
    pub fn layers(&self) -> PathBuf {
        self.storage.join("layers")
    }

    /// Where images are put from outside, if they are not used there: then they are moved to
    /// [`Layout::images`].
    pub fn images_put(&self) -> Option<PathBuf> {
        (self.storage != self.root).then(|| self.root.join("images"))
    }

    /// All templates' directories.
    pub fn templates(&self) -> PathBuf {
        self.storage.join("templates")
    }

    /// What may be deleted at every start.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// All sandboxes' directories.
    pub fn sandboxes(&self) -> PathBuf {
        self.storage.join("sandboxes")
    }

    /// One sandbox's directory.
    pub fn sandbox(&self, id: &SandboxId) -> PathBuf {
        self.sandboxes().join(id.as_str())
    }

    /// A sandbox's cold image.
    pub fn cold(&self, id: &SandboxId) -> PathBuf {
        self.sandbox(id).join("cold")
    }

    /// A sandbox's cold image while it is being written.
    pub fn cold_half(&self, id: &SandboxId) -> PathBuf {
        self.sandbox(id).join(format!("{HALF_MADE}cold"))
    }

    /// What a sandbox is about to be put back to.
    pub fn aside(&self, id: &SandboxId) -> PathBuf {
        self.sandbox(id).join(format!("{HALF_MADE}rollback"))
    }

    /// What forks have captured and their copies are going on from; deleted at every start.
    pub fn forks(&self) -> PathBuf {
        self.storage.join("forks")
    }

    /// All checkpoints' directories.
    pub fn snapshots(&self) -> PathBuf {
        self.storage.join("snapshots")
    }

    /// All volumes' directories.
    pub fn volumes(&self) -> PathBuf {
        self.storage.join("volumes")
    }

    /// One volume's directory.
    pub fn volume(&self, id: &VolumeId) -> PathBuf {
        self.volumes().join(id.as_str())
    }

    /// A volume's disk.
    pub fn volume_disk(&self, id: &VolumeId) -> PathBuf {
        self.volume(id).join(file::DISK)
    }

    /// A volume's directory while it is being made.
    pub fn volume_half(&self, id: &VolumeId) -> PathBuf {
        self.volumes().join(format!("{HALF_MADE}{id}"))
    }

    /// One checkpoint's directory.
    pub fn snapshot(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots().join(id.as_str())
    }

    /// One template's directory.
    pub fn template(&self, id: &TemplateId) -> PathBuf {
        self.templates().join(id.as_str())
    }

    /// The directory of the machine that a template is made of.
    pub fn template_half(&self, id: &TemplateId) -> PathBuf {
        self.templates().join(format!("{HALF_MADE}{id}"))
    }

    /// A checkpoint's directory while it is being written.
    pub fn snapshot_half(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots().join(format!("{HALF_MADE}{id}"))
    }
}
