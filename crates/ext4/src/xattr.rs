//! Extended attributes: in the inode behind its fields, and in a block of their own.

use crate::crc;
use crate::le::{put_u16, put_u32, u16_at, u32_at};
use crate::superblock::{BLOCK, Sums};
use crate::tree::Xattr;

/// Bytes of an inode behind its fields.
pub(crate) const IN_INODE: usize = 96;
const MAGIC: u32 = 0xea02_0000;
/// Bytes of the header of a block.
const HEADER: usize = 32;

/// How names are shortened: the number stands for the prefix. Longer prefixes come first.
const PREFIXES: [(&[u8], u8); 6] = [
    (ACL_ACCESS, 2),
    (ACL_DEFAULT, 3),
    (b"user.", 1),
    (b"trusted.", 4),
    (b"security.", 6),
    (b"system.", 7),
];
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";
/// Where a file's content is if it is in the inode; never an attribute of its own.
const DATA: &[u8] = b"system.data";

/// Why attributes cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XattrError {
    /// They are too large together.
    #[error("its extended attributes do not fit into a block of {BLOCK} bytes")]
    TooLarge,
    /// The value of an access control list is none.
    #[error("its access control list is malformed")]
    Acl,
}

/// An attribute as it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Stored {
    index: u8,
    // The order that the kernel searches blocks by: number, length, name.
    len: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Stored {
    fn entry_len(&self) -> usize {
        16 + self.name.len().next_multiple_of(4)
    }

    fn len(&self) -> usize {
        self.entry_len() + self.value.len().next_multiple_of(4)
    }

    fn hash(&self) -> u32 {
        let name = self
            .name
            .iter()
            .fold(0_u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(name, |hash, chunk| {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// The attributes of an inode, divided.
#[derive(Debug, Default)]
pub(crate) struct Divided {
    in_inode: Vec<Stored>,
    in_block: Vec<Stored>,
}

/// Divides attributes between the inode and a block. Those of other systems, which Linux would
/// refuse as not supported, are left out.
pub(crate) fn divide(xattrs: &[Xattr]) -> Result<Divided, XattrError> {
    let mut divided = Divided::default();
    // Magic number, and the zeros behind the last entry.
    let mut left = IN_INODE - 4 - 4;
    let mut block = HEADER + 4;
    let mut all = Vec::new();
    for xattr in xattrs {
        all.extend(stored(xattr)?);
    }
    all.sort();
    for xattr in all {
        let len = xattr.len();
        if len <= left {
            left -= len;
            divided.in_inode.push(xattr);
        } else {
            block += len;
            divided.in_block.push(xattr);
        }
    }
    if block > BLOCK {
        return Err(XattrError::TooLarge);
    }
    Ok(divided)
}

fn stored(xattr: &Xattr) -> Result<Option<Stored>, XattrError> {
    let found = PREFIXES.iter().find_map(|(prefix, index)| {
        let name = xattr.name.strip_prefix(*prefix)?;
        // The lists have no name besides the prefix, everything else has.
        (name.is_empty() == matches!(index, 2 | 3)).then_some((*index, name))
    });
    let Some((index, name)) = found else {
        return Ok(None);
    };
    if name.len() > 255 || *xattr.name == *DATA {
        return Ok(None);
    }
    let value = match index {
        2 | 3 => acl_to_disk(&xattr.value).ok_or(XattrError::Acl)?,
        _ => xattr.value.to_vec(),
    };
    Ok(Some(Stored {
        index,
        len: name.len(),
        name: name.to_vec(),
        value,
    }))
}

impl Divided {
    pub(crate) fn needs_block(&self) -> bool {
        !self.in_block.is_empty()
    }

    /// What is behind the fields of the inode; nothing if it is empty.
    pub(crate) fn in_inode(&self) -> Option<Box<[u8; IN_INODE]>> {
        if self.in_inode.is_empty() {
            return None;
        }
        let mut bytes = Box::new([0; IN_INODE]);
        put_u32(&mut *bytes, 0, MAGIC);
        put_entries(&mut bytes[4..], 0, &self.in_inode, false);
        Some(bytes)
    }

    /// The block, which is to be written to `place`.
    pub(crate) fn block(&self, place: u64, seed: u32) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK];
        put_u32(&mut bytes, 0, MAGIC);
        put_u32(&mut bytes, 4, 1);
        put_u32(&mut bytes, 8, 1);
        put_entries(&mut bytes, HEADER, &self.in_block, true);
        let hashes = self.in_block.iter().map(Stored::hash);
        let hash = hashes.fold(0_u32, |all, hash| all.rotate_left(16) ^ hash);
        // 0 says that the block is not to be shared.
        let all = self.in_block.iter().all(|xattr| xattr.hash() != 0);
        put_u32(&mut bytes, 12, if all { hash } else { 0 });
        let sum = crc::update(seed, &place.to_le_bytes());
        let sum = crc::update(sum, &bytes);
        put_u32(&mut bytes, 16, sum);
        bytes
    }
}

/// Entries from the front, their values from the end; offsets count from the front of `bytes`.
fn put_entries(bytes: &mut [u8], first: usize, xattrs: &[Stored], hashed: bool) {
    let (mut at, mut end) = (first, bytes.len());
    for xattr in xattrs {
        end -= xattr.value.len().next_multiple_of(4);
        bytes[end..end + xattr.value.len()].copy_from_slice(&xattr.value);
        bytes[at] = xattr.name.len() as u8;
        bytes[at + 1] = xattr.index;
        let offset = if xattr.value.is_empty() { 0 } else { end };
        put_u16(bytes, at + 2, offset as u16);
        put_u32(bytes, at + 8, xattr.value.len() as u32);
        put_u32(bytes, at + 12, if hashed { xattr.hash() } else { 0 });
        bytes[at + 16..at + 16 + xattr.name.len()].copy_from_slice(&xattr.name);
        at += xattr.entry_len();
    }
}

/// From the form of system calls (version 2, every entry with an id) to that of the disk.
fn acl_to_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, entries) = value.split_first_chunk::<4>()?;
    let (entries, rest) = entries.as_chunks::<8>();
    if u32::from_le_bytes(*version) != 2 || !rest.is_empty() {
        return None;
    }
    let mut disk = 1_u32.to_le_bytes().to_vec();
    for entry in entries {
        let with_id = has_id(u16_at(entry, 0))?;
        disk.extend_from_slice(&entry[..if with_id { 8 } else { 4 }]);
    }
    Some(disk)
}

/// And back.
fn acl_from_disk(value: &[u8]) -> Option<Vec<u8>> {
    let (version, mut rest) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != 1 {
        return None;
    }
    let mut acl = 2_u32.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let head = rest.get(..4)?;
        acl.extend_from_slice(head);
        if has_id(u16_at(head, 0))? {
            acl.extend_from_slice(rest.get(4..8)?);
            rest = &rest[8..];
        } else {
            acl.extend_from_slice(&[0xff; 4]);
            rest = &rest[4..];
        }
    }
    Some(acl)
}

/// Whether an entry with this tag is for a user or group of its own.
fn has_id(tag: u16) -> Option<bool> {
    match tag {
        0x02 | 0x08 => Some(true),
        0x01 | 0x04 | 0x10 | 0x20 => Some(false),
        _ => None,
    }
}

/// What is behind the fields of an inode; nothing if it is malformed.
pub(crate) fn read_in_inode(bytes: &[u8]) -> Option<Vec<Xattr>> {
    if bytes.len() < 8 || u32_at(bytes, 0) != MAGIC {
        return Some(Vec::new());
    }
    read_entries(&bytes[4..], 0)
}

/// A block of attributes that is at `place`; nothing if it is malformed.
pub(crate) fn read_block(bytes: &[u8], place: u64, seed: u32, sums: Sums) -> Option<Vec<Xattr>> {
    let mut unsummed = bytes.to_vec();
    put_u32(&mut unsummed, 16, 0);
    let sum = crc::update(seed, &place.to_le_bytes());
    let sum = crc::update(sum, &unsummed);
    let fits = sums == Sums::Ignored || u32_at(bytes, 16) == sum;
    if u32_at(bytes, 0) != MAGIC || u32_at(bytes, 8) != 1 || !fits {
        return None;
    }
    read_entries(bytes, HEADER)
}

/// The file's content that is among the attributes of an inode: where it begins in what is
/// behind the fields, and its length.
pub(crate) fn inline_data(bytes: &[u8]) -> Option<(usize, usize)> {
    if bytes.len() < 8 || u32_at(bytes, 0) != MAGIC {
        return None;
    }
    let region = &bytes[4..];
    let found = entries(region, 0)?.into_iter();
    let mut found = found.filter(|entry| entry.index == 7 && entry.name == b"data");
    let entry = found.next()?;
    Some((entry.value_at + 4, entry.value.len()))
}

struct Found<'a> {
    index: u8,
    name: &'a [u8],
    value: &'a [u8],
    value_at: usize,
}

fn entries(bytes: &[u8], first: usize) -> Option<Vec<Found<'_>>> {
    let mut found = Vec::new();
    let mut at = first;
    while u32_at(bytes.get(at..at + 4)?, 0) != 0 {
        let head = bytes.get(at..at + 16)?;
        let len = usize::from(head[0]);
        let name = bytes.get(at + 16..at + 16 + len)?;
        let value_at = usize::from(u16_at(head, 2));
        // A value in an inode of its own is not supported.
        if u32_at(head, 4) != 0 {
            return None;
        }
        let size = u32_at(head, 8) as usize;
        let value = bytes.get(value_at..value_at.checked_add(size)?)?;
        found.push(Found {
            index: head[1],
            name,
            value,
            value_at,
        });
        at += 16 + len.next_multiple_of(4);
    }
    Some(found)
}

fn read_entries(bytes: &[u8], first: usize) -> Option<Vec<Xattr>> {
    let mut xattrs = Vec::new();
    for entry in entries(bytes, first)? {
        let prefix = PREFIXES.iter().find(|(_, index)| *index == entry.index);
        let name = [prefix?.0, entry.name].concat();
        if name == DATA {
            continue;
        }
        let value = match entry.index {
            2 | 3 => acl_from_disk(entry.value)?,
            _ => entry.value.to_vec(),
        };
        xattrs.push(Xattr {
            name: name.into(),
            value: value.into(),
        });
    }
    Some(xattrs)
}
