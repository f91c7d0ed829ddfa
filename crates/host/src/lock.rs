//! A lock on a directory that dies with its holder.

use std::path::Path;

use rustix::fs::FlockOperation;

/// The lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("another daemon is running on this data directory")]
    Held,
    /// The lock file could not be made or locked.
    #[error("failed to lock the data directory")]
    Io(#[source] std::io::Error),
}

/// An exclusive lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirLock {
    _file: fs_err::File,
}

impl DirLock {
    /// Takes the lock of a directory without waiting.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("lock"))
            .map_err(LockError::Io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held),
            Err(errno) => Err(LockError::Io(errno.into())),
        }
    }
}

#[cfg(test)]
mod test {
    use super::{DirLock, LockError};

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        assert!(matches!(DirLock::take(dir.path()), Err(LockError::Held)));
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }
}
