//! What the fake VMM keeps in a machine's files: one line of JSON at the beginning of each.

use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Longest record, in bytes: one page.
const ROOM: usize = 4096;

/// A guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Which boot it is of; no two boots on one host have the same number.
    pub(super) boot: u64,
    /// The number that commands set and read.
    pub(super) value: u64,
    /// The generation of the disk it belongs to.
    pub(super) disk: u64,
    /// The save that wrote it; 0 if it was never saved.
    pub(super) save: u64,
    /// It was saved while vCPUs ran, and is of no one instant.
    pub(super) torn: bool,
}

/// A guest's disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Disk {
    /// Changes with every write and whenever vCPUs begin to run: a guest that runs writes. No two
    /// on one host are the same.
    pub(super) generation: u64,
    /// The number that commands store and read.
    pub(super) value: u64,
}

/// A device state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The save that wrote it.
    pub(super) save: u64,
    /// vCPUs of the machine.
    pub(super) cpus: u32,
    /// Memory of the machine, in bytes.
    pub(super) memory: u64,
    /// The places of its volumes, as bits.
    pub(super) slots: u32,
}

/// Reads a record; `None` where there are only zeros, as in new memory or on an image's disk.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let mut bytes = Vec::new();
    fs_err::File::open(path)?
        .take(ROOM as u64)
        .read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|&byte| byte == 0);
    let text = &bytes[..end.unwrap_or(bytes.len())];
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(text)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a record over what is there; the file is made if need be.
pub(super) fn write<T: Serialize>(path: &Path, record: &T) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(record).map_err(io::Error::other)?;
    bytes.resize(ROOM, 0);
    let file = fs_err::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.file().write_all_at(&bytes, 0)
}
