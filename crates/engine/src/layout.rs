//! Where things lie in the data directory.

use std::path::{Path, PathBuf};

use bhatti_types::id::{SandboxId, SnapshotId};

/// Names of the files of a checkpoint or cold image.
pub mod file {
    /// What the image is, with the sizes and digests of the others.
    pub const MANIFEST: &str = "manifest";
    /// Device state.
    pub const STATE: &str = "state";
    /// Memory, zeros left out as holes.
    pub const MEMORY: &str = "mem";
    /// The disk, in checkpoints.
    pub const DISK: &str = "disk.raw";
}

/// Beginning of the names of directories that are not whole yet; always safe to delete at the
/// start of a daemon.
pub const HALF_MADE: &str = ".new-";

/// The paths of one data directory.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The paths under `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
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
        self.root.join("images")
    }

    /// What may be deleted at every start.
    pub fn scratch(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// All sandboxes' directories.
    pub fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
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
        self.root.join("forks")
    }

    /// All checkpoints' directories.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// One checkpoint's directory.
    pub fn snapshot(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots().join(id.as_str())
    }

    /// A checkpoint's directory while it is being written.
    pub fn snapshot_half(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots().join(format!("{HALF_MADE}{id}"))
    }
}
