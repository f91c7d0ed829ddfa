//! What was found in a layer, and the file it is kept in.
//!
//! The file is a header of [`HEADER`] bytes (magic, version, length and digest of what follows)
//! and the entries. It is a cache: one that cannot be read is made again from the blob.

use std::io::{self, Read, Write};
use std::path::Path;

use bhatti_ext4::tree::{Data, Device, MAJOR_MAX, MINOR_MAX, Metadata, Piece, Time, Xattr};

use crate::layer::codec::{Decoder, Encoder};
use crate::layer::digest::Sha256Digest;
use crate::layer::limits::{FILE_MAX, Limits, TARGET_MAX};
use crate::layer::path::is_normal;

/// How the file begins.
const MAGIC: [u8; 8] = *b"bhlayer\n";
/// Raise it when the file, or what [`crate::layer::scan`] makes of a layer, changes.
const VERSION: u32 = 1;
/// Magic, version, length of the rest, BLAKE3 of the rest.
const HEADER: usize = 8 + 4 + 8 + 32;

/// All that is in a layer, but for the contents of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerIndex {
    /// The digest of the uncompressed archive.
    pub diff_id: Sha256Digest,
    /// How many bytes the uncompressed archive has.
    pub bytes: u64,
    /// The archive's entries, in its order. The pieces of files are places in the uncompressed
    /// archive, of the source 0.
    pub entries: Vec<Entry>,
}

/// An entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it belongs: names separated by `/`, none of them `.` or `..`; empty for the root.
    pub path: Box<[u8]>,
    /// Its attributes.
    pub meta: Metadata,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file, or one of the names that take files of lower layers away.
    File(Data),
    /// A symbolic link and its target, which means nothing here.
    Symlink(Box<[u8]>),
    /// Another name of a file, and that file's path, in the form of [`Entry::path`].
    HardLink(Box<[u8]>),
    /// A character device.
    Character(Device),
    /// A block device.
    Block(Device),
    /// A named pipe.
    Fifo,
}

/// Why an index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It cannot be read.
    #[error("failed to read the index of a layer")]
    Read(#[source] io::Error),
    /// It was written by another version.
    #[error("the index of a layer has the version {found}, not {VERSION}")]
    Version {
        /// Which.
        found: u32,
    },
    /// It is not what was written.
    #[error("the index of a layer is damaged")]
    Damaged,
    /// It is larger than it may be.
    #[error("the index of a layer is too large")]
    TooLarge,
}

impl Entry {
    /// Bytes of its names and attributes.
    pub(crate) fn text_bytes(&self) -> u64 {
        let target = match &self.kind {
            EntryKind::Symlink(target) | EntryKind::HardLink(target) => target.len(),
            _ => 0,
        };
        let xattrs = self.meta.xattrs.iter();
        let xattrs: usize = xattrs
            .map(|xattr| xattr.name.len() + xattr.value.len())
            .sum();
        (self.path.len() + target + xattrs) as u64
    }

    fn encode(&self, to: &mut Encoder) {
        to.bytes(&self.path);
        to.number(u64::from(self.meta.mode));
        to.number(u64::from(self.meta.uid));
        to.number(u64::from(self.meta.gid));
        to.signed(self.meta.mtime.seconds);
        to.number(u64::from(self.meta.mtime.nanos));
        to.number(self.meta.xattrs.len() as u64);
        for xattr in &self.meta.xattrs {
            to.bytes(&xattr.name);
            to.bytes(&xattr.value);
        }
        let device = |to: &mut Encoder, kind, device: &Device| {
            to.number(kind);
            to.number(u64::from(device.major));
            to.number(u64::from(device.minor));
        };
        match &self.kind {
            EntryKind::Directory => to.number(0),
            EntryKind::File(data) => {
                to.number(1);
                to.number(data.size);
                to.number(data.pieces.len() as u64);
                for piece in &data.pieces {
                    to.number(piece.at);
                    to.number(piece.len);
                    to.number(piece.from);
                }
            }
            EntryKind::Symlink(target) => {
                to.number(2);
                to.bytes(target);
            }
            EntryKind::HardLink(target) => {
                to.number(3);
                to.bytes(target);
            }
            EntryKind::Character(numbers) => device(to, 4, numbers),
            EntryKind::Block(numbers) => device(to, 5, numbers),
            EntryKind::Fifo => to.number(6),
        }
    }

    fn decode(from: &mut Decoder<'_>, bytes: u64, limits: &Limits) -> Option<Self> {
        let path = from.bytes(limits.path_bytes)?;
        let mut meta = Metadata {
            mode: from.up_to(0o7777)? as u16,
            uid: from.up_to(u64::from(u32::MAX))? as u32,
            gid: from.up_to(u64::from(u32::MAX))? as u32,
            mtime: Time {
                seconds: from.signed()?,
                nanos: from.up_to(999_999_999)? as u32,
            },
            xattrs: Vec::new(),
        };
        for _ in 0..from.up_to(limits.xattr_bytes as u64)? {
            let name = from.bytes(limits.xattr_bytes)?;
            let value = from.bytes(limits.xattr_bytes)?;
            meta.xattrs.push(Xattr { name, value });
        }
        let kind = match from.number()? {
            0 => EntryKind::Directory,
            1 => EntryKind::File(decode_data(from, bytes, limits)?),
            2 => EntryKind::Symlink(from.bytes(TARGET_MAX)?),
            3 => EntryKind::HardLink(from.bytes(limits.path_bytes)?),
            kind @ (4 | 5) => {
                let device = Device {
                    major: from.up_to(u64::from(MAJOR_MAX))? as u32,
                    minor: from.up_to(u64::from(MINOR_MAX))? as u32,
                };
                if kind == 4 {
                    EntryKind::Character(device)
                } else {
                    EntryKind::Block(device)
                }
            }
            6 => EntryKind::Fifo,
            _ => return None,
        };
        let target_is_normal = match &kind {
            EntryKind::HardLink(target) => !target.is_empty() && is_normal(target, limits),
            EntryKind::Symlink(target) => !target.is_empty() && !target.contains(&0),
            _ => true,
        };
        let normal = is_normal(&path, limits) && target_is_normal;
        let is_root_or_not = !path.is_empty() || kind == EntryKind::Directory;
        (normal && is_root_or_not).then_some(Self { path, meta, kind })
    }
}

fn decode_data(from: &mut Decoder<'_>, bytes: u64, limits: &Limits) -> Option<Data> {
    let size = from.up_to(FILE_MAX)?;
    let mut pieces = Vec::new();
    let mut end = 0;
    for _ in 0..from.up_to(u64::from(limits.pieces).max(1))? {
        let (at, len, start) = (from.number()?, from.number()?, from.number()?);
        if len == 0 || at < end || start.checked_add(len)? > bytes {
            return None;
        }
        end = at.checked_add(len).filter(|end| *end <= size)?;
        pieces.push(Piece {
            at,
            len,
            source: 0,
            from: start,
        });
    }
    Some(Data { size, pieces })
}

impl LayerIndex {
    /// Writes it.
    pub fn write_to(&self, mut to: impl Write) -> io::Result<()> {
        let mut body = Encoder::default();
        body.raw(self.diff_id.as_bytes());
        body.number(self.bytes);
        body.number(self.entries.len() as u64);
        for entry in &self.entries {
            entry.encode(&mut body);
        }
        let body = body.into_bytes();
        to.write_all(&MAGIC)?;
        to.write_all(&VERSION.to_le_bytes())?;
        to.write_all(&(body.len() as u64).to_le_bytes())?;
        to.write_all(blake3::hash(&body).as_bytes())?;
        to.write_all(&body)?;
        to.flush()
    }

    /// Reads one that [`LayerIndex::write_to`] has written, to the end of the reader.
    ///
    /// It is checked like the layer itself, so that a damaged file does no more harm than a
    /// hostile layer.
    pub fn read_from(mut from: impl Read, limits: &Limits) -> Result<Self, IndexError> {
        let mut header = [0; HEADER];
        from.read_exact(&mut header)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => IndexError::Damaged,
                _ => IndexError::Read(error),
            })?;
        let (magic, rest) = header.split_at(MAGIC.len());
        let (version, rest) = rest.split_at(4);
        let (len, sum) = rest.split_at(8);
        if magic != MAGIC {
            return Err(IndexError::Damaged);
        }
        let mut found = [0; 4];
        found.copy_from_slice(version);
        let found = u32::from_le_bytes(found);
        if found != VERSION {
            return Err(IndexError::Version { found });
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(len);
        let len = u64::from_le_bytes(bytes);
        if len > max_len(limits) {
            return Err(IndexError::TooLarge);
        }
        let mut body = Vec::new();
        // One more than there is to be, to see that nothing follows.
        let read = from.take(len + 1).read_to_end(&mut body);
        read.map_err(IndexError::Read)?;
        if body.len() as u64 != len || blake3::hash(&body).as_bytes() != sum {
            return Err(IndexError::Damaged);
        }
        Self::decode(&body, limits).ok_or(IndexError::Damaged)
    }

    fn decode(body: &[u8], limits: &Limits) -> Option<Self> {
        let mut from = Decoder::new(body);
        let diff_id = Sha256Digest::from_bytes(from.raw()?);
        let bytes = from.up_to(limits.bytes)?;
        let count = from.up_to(u64::from(limits.entries))?;
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(Entry::decode(&mut from, bytes, limits)?);
        }
        from.is_empty().then_some(Self {
            diff_id,
            bytes,
            entries,
        })
    }
}

/// Whether a file is an index of this version, by its first bytes.
pub(crate) fn is_current(path: &Path) -> bool {
    let mut start = [0; MAGIC.len() + 4];
    let read = fs_err::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    let (magic, version) = start.split_at(MAGIC.len());
    read.is_ok() && magic == MAGIC && version == VERSION.to_le_bytes()
}

/// What an index within the limits takes at most: no number has more than 10 bytes, an entry has
/// 12 besides those of its pieces and attributes.
fn max_len(limits: &Limits) -> u64 {
    let entries = u64::from(limits.entries) * 140;
    let pieces = u64::from(limits.pieces) * 30;
    entries + pieces + 21 * limits.text_bytes
}
