//! What is stored of a disk.

use std::collections::BTreeMap;

use bhatti_types::id::BackupId;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::BackupError;

/// The version of the format that is written.
pub const FORMAT: u32 = 1;
/// Bytes in a chunk; the last one of a disk may be shorter. Large enough that a request for each
/// is no burden, small enough that a guest's small write does not cost much.
pub const CHUNK: u64 = 1 << 20;
/// Largest disk, in bytes.
pub(crate) const MAX_DISK: u64 = 4 << 40;
/// Longest summary, in bytes.
pub(crate) const MAX_SUMMARY: usize = 64 << 10;
/// An entry of a map, in bytes.
const ENTRY: usize = 4 + 32;
/// Longest map, in bytes.
pub(crate) const MAX_MAP: usize = ENTRY * (MAX_DISK / CHUNK) as usize;
/// zstd's level: quick, for most of the time goes into sending.
const LEVEL: i32 = 3;

/// The digest of a chunk.
pub type Digest = [u8; 32];

/// What is told of a backup without reading the rest of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The version of the format.
    pub format: u32,
    /// The backup's id.
    pub id: BackupId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Size of the disk, in bytes.
    pub disk_bytes: u64,
    /// Bytes of it that are not zeros, by whole chunks.
    pub data_bytes: u64,
    /// Bytes that were sent for it: what earlier backups did not have, compressed.
    pub sent_bytes: u64,
    /// BLAKE3 of the map before it was compressed, in hexadecimal. It holds the digests of all
    /// chunks in their order, and so stands for the whole disk.
    pub map_digest: String,
}

/// Which chunk is where on a disk. Chunks of zeros are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map {
    /// Digests by the chunks' numbers.
    pub chunks: BTreeMap<u32, Digest>,
}

impl Map {
    /// The map as it is digested.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.chunks.len() * ENTRY);
        for (number, digest) in &self.chunks {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(digest);
        }
        bytes
    }

    /// Reads a map; one that was not written by [`Map::to_bytes`] for a disk of this size is
    /// damaged.
    pub fn from_bytes(bytes: &[u8], disk_bytes: u64) -> Result<Self, BackupError> {
        let damaged = || BackupError::damaged("its map");
        if !bytes.len().is_multiple_of(ENTRY) || disk_bytes > MAX_DISK {
            return Err(damaged());
        }
        let chunks = disk_bytes.div_ceil(CHUNK);
        let mut map = Self::default();
        let mut next = 0;
        for entry in bytes.chunks_exact(ENTRY) {
            let (number, digest) = entry.split_at(4);
            let number = u32::from_le_bytes(number.try_into().map_err(|_| damaged())?);
            if number < next || u64::from(number) >= chunks {
                return Err(damaged());
            }
            next = number + 1;
            let digest = digest.try_into().map_err(|_| damaged())?;
            map.chunks.insert(number, digest);
        }
        Ok(map)
    }
}

/// Compresses an object. Blocking.
pub(crate) fn pack(bytes: &[u8]) -> Result<Bytes, BackupError> {
    let packed = zstd::bulk::compress(bytes, LEVEL);
    packed
        .map(Bytes::from)
        .map_err(BackupError::io("compress a chunk"))
}

/// Undoes that, if what comes out is at most `limit` bytes. Blocking.
pub(crate) fn unpack(bytes: &[u8], limit: usize) -> Result<Vec<u8>, BackupError> {
    zstd::bulk::decompress(bytes, limit)
        .map_err(|_| BackupError::damaged("an object can't be read"))
}

/// The most that [`pack`] makes of so many bytes.
pub(crate) fn packed_at_most(bytes: usize) -> usize {
    zstd::zstd_safe::compress_bound(bytes)
}

/// Where objects of one volume are.
#[derive(Debug, Clone)]
pub struct Place {
    prefix: String,
}

impl Place {
    /// Under this prefix, which does not end with `/`.
    pub fn new(prefix: String) -> Self {
        Self { prefix }
    }

    pub(crate) fn chunks(&self) -> String {
        format!("{}/chunks/", self.prefix)
    }

    pub(crate) fn chunk(&self, digest: &Digest) -> String {
        format!("{}{}", self.chunks(), bhatti_types::id::hex(digest))
    }

    pub(crate) fn backups(&self) -> String {
        format!("{}/backups/", self.prefix)
    }

    pub(crate) fn map(&self, id: &BackupId) -> String {
        format!("{}{id}.map", self.backups())
    }

    pub(crate) fn summary(&self, id: &BackupId) -> String {
        format!("{}{id}.json", self.backups())
    }
}

#[cfg(test)]
mod test {
    use super::{CHUNK, Map};

    #[test]
    fn a_map_is_read_as_it_was_written_and_no_other_is() {
        let mut map = Map::default();
        map.chunks.insert(0, [1; 32]);
        map.chunks.insert(7, [2; 32]);
        let bytes = map.to_bytes();
        assert_eq!(Map::from_bytes(&bytes, 8 * CHUNK).unwrap(), map);
        // A chunk behind the disk's end.
        assert!(Map::from_bytes(&bytes, 7 * CHUNK).is_err());
        assert!(Map::from_bytes(&bytes[1..], 8 * CHUNK).is_err());
        let (first, second) = bytes.split_at(36);
        // Out of order, or twice.
        assert!(Map::from_bytes(&[second, first].concat(), 8 * CHUNK).is_err());
        assert!(Map::from_bytes(&[first, first].concat(), 8 * CHUNK).is_err());
        assert!(Map::from_bytes(&bytes, u64::MAX).is_err());
    }
}
