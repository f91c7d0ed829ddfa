//! An archive as a file in the store, with an index of it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::error::ArchiveError;
use crate::layer::decompress::{self, Compression};
use crate::layer::digest::Sha256Digest;
use crate::layer::index::EntryKind;
use crate::layer::limits::Limits;
use crate::layer::scan::scan;
use crate::layer::store::adopt::Workshop;

/// Bytes that are copied at once.
const BUFFER: usize = 1 << 20;
/// How many links are followed to a file.
const MAX_LINKS: usize = 8;
/// RFC-less formats that are told by how they begin.
const UNKNOWN: [(&[u8], &str); 3] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
];

/// An archive in a file, uncompressed, and what is in it.
pub(super) struct Spool {
    file: File,
    entries: HashMap<Box<[u8]>, Place>,
    /// The digest of the uncompressed archive.
    pub(super) diff_id: Sha256Digest,
    /// The archive as it came.
    pub(super) raw: Raw,
}

/// A file of the workshop, and what is known of it.
pub(super) struct Raw {
    pub(super) path: PathBuf,
    pub(super) digest: Sha256Digest,
    pub(super) size: u64,
}

/// Where a file of the archive is.
enum Place {
    Bytes { from: u64, len: u64 },
    Link(Box<[u8]>),
}

impl Spool {
    /// Takes an archive from a stream into a workshop.
    pub(super) fn take(
        reader: impl Read,
        workshop: &Workshop,
        limits: &Limits,
        max_bytes: u64,
        cancel: &CancellationToken,
    ) -> Result<Self, ArchiveError> {
        let raw = copy(reader, &workshop.path().join("raw"), max_bytes, cancel)?;
        let open = |path: &Path| fs_err::File::open(path).map_err(ArchiveError::store);
        let mut start = Vec::new();
        let read = open(&raw.path)?.take(8).read_to_end(&mut start);
        read.map_err(ArchiveError::store)?;
        if let Some((_, program)) = UNKNOWN.iter().find(|(magic, _)| start.starts_with(magic)) {
            return Err(ArchiveError::Compression { program });
        }
        let path = if Compression::of(&start) == Compression::None {
            raw.path.clone()
        } else {
            let unpacked = decompress::open(open(&raw.path)?.into_parts().0);
            let unpacked = unpacked.map_err(ArchiveError::Read)?;
            let path = workshop.path().join("unpacked");
            copy(unpacked, &path, limits.bytes, cancel)?;
            path
        };
        let file = open(&path)?.into_parts().0;
        let index = scan(io::BufReader::with_capacity(BUFFER, &file), limits);
        let index = index.map_err(ArchiveError::Content)?;
        let mut entries = HashMap::new();
        for entry in index.entries {
            let place = match entry.kind {
                // One with holes is no blob that any tool would write.
                EntryKind::File(data) => match data.pieces.as_slice() {
                    [] => Place::Bytes { from: 0, len: 0 },
                    [piece] if piece.at == 0 && piece.len == data.size => Place::Bytes {
                        from: piece.from,
                        len: piece.len,
                    },
                    _ => continue,
                },
                EntryKind::HardLink(target) => Place::Link(target),
                EntryKind::Symlink(target) => match resolve(&entry.path, &target) {
                    Some(target) => Place::Link(target),
                    None => continue,
                },
                _ => continue,
            };
            // As when it is unpacked, the last of a name counts.
            entries.insert(entry.path, place);
        }
        Ok(Self {
            file,
            entries,
            diff_id: index.diff_id,
            raw,
        })
    }

    /// Whether there is such a file.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Reads a small file.
    pub(super) fn small(&self, name: &str, limit: u64) -> Result<Vec<u8>, ArchiveError> {
        let lacks = || ArchiveError::Lacks {
            name: name.chars().take(200).collect(),
        };
        let (from, len) = self.find(name).ok_or_else(lacks)?;
        if len > limit {
            return Err(lacks());
        }
        let mut bytes = vec![0; len as usize];
        let read = self.file.read_exact_at(&mut bytes, from);
        read.map_err(ArchiveError::store)?;
        Ok(bytes)
    }

    /// Copies a file into the workshop.
    pub(super) fn extract(
        &self,
        name: &str,
        to: &Path,
        cancel: &CancellationToken,
    ) -> Result<Raw, ArchiveError> {
        let found = self.find(name).ok_or_else(|| ArchiveError::Lacks {
            name: name.chars().take(200).collect(),
        });
        let (from, len) = found?;
        let bytes = Range {
            file: &self.file,
            from,
            left: len,
        };
        copy(bytes, to, len, cancel)
    }

    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let name = name.strip_prefix("./").unwrap_or(name);
        let mut place = self.entries.get(name.as_bytes())?;
        for _ in 0..MAX_LINKS {
            match place {
                Place::Bytes { from, len } => return Some((*from, *len)),
                Place::Link(target) => place = self.entries.get(target)?,
            }
        }
        None
    }
}

/// The path that a symbolic link leads to, within the archive: older versions of Docker put them
/// in the place of layers that are there already.
fn resolve(path: &[u8], target: &[u8]) -> Option<Box<[u8]>> {
    let mut parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
    parts.pop();
    if target.starts_with(b"/") {
        return None;
    }
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/').into_boxed_slice())
}

/// A part of a file as a stream.
struct Range<'a> {
    file: &'a File,
    from: u64,
    left: u64,
}

impl Read for Range<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(self.left.try_into().unwrap_or(usize::MAX));
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        let count = self.file.read_at(buffer, self.from)?;
        self.from += count as u64;
        self.left -= count as u64;
        Ok(count)
    }
}

/// Copies a stream to a new file and gives its digest.
fn copy(
    mut from: impl Read,
    to: &Path,
    limit: u64,
    cancel: &CancellationToken,
) -> Result<Raw, ArchiveError> {
    let mut file = fs_err::File::create_new(to).map_err(ArchiveError::store)?;
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    let mut buffer = vec![0; BUFFER];
    loop {
        if cancel.is_cancelled() {
            return Err(ArchiveError::GivenUp);
        }
        let count = match from.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ArchiveError::Read(error)),
        };
        let piece = buffer.get(..count).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        size += piece.len() as u64;
        if size > limit {
            return Err(ArchiveError::TooLarge { limit });
        }
        hasher.update(piece);
        file.write_all(piece).map_err(ArchiveError::store)?;
    }
    Ok(Raw {
        path: to.to_owned(),
        digest: Sha256Digest::from_bytes(hasher.finalize().into()),
        size,
    })
}
