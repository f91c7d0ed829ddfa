//! The volumes' disks of a fake machine.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bhatti_vmm::machine::VolumeDisk;

/// One that is plugged in.
#[derive(Debug, Clone)]
struct Plugged {
    serial: String,
    path: PathBuf,
    /// Device and inode of its file.
    inode: Option<(u64, u64)>,
    read_only: bool,
}

/// All of one machine, by their places.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    plugged: Mutex<BTreeMap<u8, Plugged>>,
}

impl Volumes {
    /// The taken places, as bits.
    pub(super) fn slots(&self) -> u32 {
        self.lock().keys().fold(0, |bits, slot| bits | 1 << slot)
    }

    /// Plugs one in. Says what is wrong with that, if anything: one machine may write to a file,
    /// or many read it.
    pub(super) fn plug<'a>(
        &self,
        volume: &VolumeDisk,
        others: impl Iterator<Item = &'a Self>,
    ) -> Option<String> {
        let inode = fs_err::metadata(&volume.path);
        let inode = inode.ok().map(|found| (found.dev(), found.ino()));
        let new = Plugged {
            serial: volume.serial.clone(),
            path: volume.path.clone(),
            inode,
            read_only: volume.read_only,
        };
        let shared = |other: &Self| {
            let other = other.lock();
            let mut same = other.values().filter(|other| other.inode == inode);
            same.any(|other| !(other.read_only && volume.read_only))
        };
        let wrong = if inode.is_none() {
            Some("a volume's file is not there".to_owned())
        } else if others.into_iter().any(shared) {
            Some("a volume that is written to has another user".to_owned())
        } else {
            None
        };
        self.lock().insert(volume.slot, new);
        wrong
    }

    /// Pulls one out, and gives its serial number.
    pub(super) fn unplug(&self, slot: u8) -> Option<String> {
        self.lock().remove(&slot).map(|plugged| plugged.serial)
    }

    /// Makes the file of one larger.
    pub(super) fn grow(&self, slot: u8, bytes: u64) -> std::io::Result<()> {
        let path = self.lock().get(&slot).map(|plugged| plugged.path.clone());
        let path = path.ok_or(std::io::ErrorKind::NotFound)?;
        let file = fs_err::OpenOptions::new().write(true).open(path)?;
        if file.metadata()?.len() < bytes {
            file.set_len(bytes)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u8, Plugged>> {
        self.plugged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
