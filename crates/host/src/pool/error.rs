//! Why a data directory has not the storage that was wanted.

use std::io;
use std::path::PathBuf;

use crate::command::CommandError;

/// The storage of a data directory could not be found or made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Something about its files, its mount or its loop device did not work.
    #[error("failed to {action} {path:?}")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it did not work.
        #[source]
        source: io::Error,
    },
    /// Its file system could not be made.
    #[error("failed to make the pool's file system")]
    Format(#[source] CommandError),
    /// `mkfs.xfs` is not installed.
    #[error("`mkfs.xfs` is not installed")]
    NoFormatter,
    /// Loop devices and mounts are for root.
    #[error("mounting a pool needs root")]
    NotRoot,
    /// The host has too little room for a pool beside its reserve.
    #[error("the host's disk has no room for a pool ({free} bytes are free beside its reserve)")]
    NoRoom {
        /// What is free, the reserve taken off.
        free: u64,
    },
    /// The data directory holds machines outside of a pool.
    #[error("the data directory already holds sandboxes or snapshots outside of a pool")]
    HasMachines,
    /// The data directory holds machines both in a pool and outside.
    #[error("the data directory holds sandboxes or snapshots both in its pool and outside of it")]
    Split,
    /// Something that is not the pool is mounted in its place.
    #[error("something else is mounted on {path:?}")]
    Foreign {
        /// The place of the pool.
        path: PathBuf,
    },
}

impl PoolError {
    /// What to do about it, if that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoFormatter => Some("install `xfsprogs`"),
            Self::NotRoot => {
                Some("run the daemon as root, or put the data directory on XFS or Btrfs")
            }
            Self::NoRoom { .. } => Some("free some space, or set a smaller `disk_reserve_mb`"),
            Self::HasMachines => Some(
                "destroy its sandboxes and snapshots first, or set `storage` to `auto` to go on without a pool",
            ),
            Self::Split => Some(
                "move the directories `sandboxes` and `snapshots` out of the data directory, or take the pool away",
            ),
            Self::Foreign { .. } => Some("unmount it"),
            Self::Io { action: MOUNT, .. } => Some(
                "`dmesg` has the kernel's reason; a copied data directory's pool needs a new id: `xfs_admin -U generate pool.img`",
            ),
            Self::Io { .. } | Self::Format(_) => None,
        }
    }

    /// Whether it is the host that can't have a pool: no reason not to start, unless a pool is
    /// insisted on.
    pub(super) fn is_the_host(&self) -> bool {
        match self {
            Self::Io { .. }
            | Self::Format(_)
            | Self::NoFormatter
            | Self::NotRoot
            | Self::NoRoom { .. } => true,
            Self::HasMachines | Self::Split | Self::Foreign { .. } => false,
        }
    }
}

/// What [`PoolError::Io`] says of a mount.
pub(super) const MOUNT: &str = "mount the pool on";

/// Names what failed.
pub(super) fn failed(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(io::Error) -> PoolError {
    let path = path.into();
    move |source| PoolError::Io {
        action,
        path,
        source,
    }
}
