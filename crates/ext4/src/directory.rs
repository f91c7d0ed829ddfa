//! Directory blocks: one block of names, or an index of hashes over many.

use crate::crc;
use crate::hash::{HALF_MD4, half_md4};
use crate::le::{put_u16, put_u32};
use crate::superblock::BLOCK;

/// Bytes at the end of a block that hold its sum, in the form of an entry.
const TAIL: usize = 12;
/// How many entries the root of an index and a node below it have room for.
const IN_ROOT: usize = (BLOCK - 32 - 8) / 8;
const IN_NODE: usize = (BLOCK - 8 - 8) / 8;

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) inode: u32,
    /// What the entry says of the inode's kind.
    pub(crate) kind: u8,
}

/// What the hash of a name depends on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hashing {
    pub(crate) seed: [u32; 4],
    pub(crate) signed: bool,
}

/// A directory as it is on the disk.
pub(crate) struct Blocks {
    /// Whole blocks, the first first.
    pub(crate) bytes: Vec<u8>,
    /// Whether the inode has to say that there is an index.
    pub(crate) indexed: bool,
}

/// Bytes that an entry takes.
pub(crate) const fn entry_len(name: usize) -> usize {
    (8 + name).next_multiple_of(4)
}

/// How many blocks a directory takes at most, from the lengths of its names.
pub(crate) fn blocks_at_most(names: impl Iterator<Item = usize>) -> u64 {
    let bytes: usize = names.map(entry_len).sum();
    if bytes + entry_len(1) + entry_len(2) + TAIL <= BLOCK {
        return 1;
    }
    // The longest entry may not fit where there is still room for others.
    let leaves = bytes.div_ceil(BLOCK - TAIL - entry_len(255));
    (1 + leaves + leaves.div_ceil(IN_NODE)) as u64
}

/// Makes the blocks of a directory; nothing if it has more names than an index can hold.
///
/// `parent` and `own` are inodes, `seed` is what the sums of this inode begin with.
pub(crate) fn build(
    entries: &[Entry<'_>],
    own: u32,
    parent: u32,
    hashing: Hashing,
    seed: u32,
) -> Option<Blocks> {
    let bytes: usize = entries
        .iter()
        .map(|entry| entry_len(entry.name.len()))
        .sum();
    if bytes + entry_len(1) + entry_len(2) + TAIL > BLOCK {
        return indexed(entries, own, parent, hashing, seed);
    }
    let mut block = Leaf::new(0);
    block.add(&dot(b".", own));
    block.add(&dot(b"..", parent));
    for entry in entries {
        block.add(entry);
    }
    Some(Blocks {
        bytes: block.finish(seed),
        indexed: false,
    })
}

fn dot(name: &'static [u8], inode: u32) -> Entry<'static> {
    Entry {
        name,
        inode,
        kind: 2,
    }
}

/// A block of names.
struct Leaf {
    bytes: Vec<u8>,
    last: usize,
    end: usize,
    /// The hash of its first and its last name.
    first_hash: u32,
    last_hash: u32,
}

impl Leaf {
    fn new(hash: u32) -> Self {
        Self {
            bytes: vec![0; BLOCK],
            last: 0,
            end: 0,
            first_hash: hash,
            last_hash: hash,
        }
    }

    fn has_room(&self, entry: &Entry<'_>) -> bool {
        self.end + entry_len(entry.name.len()) <= BLOCK - TAIL
    }

    fn add(&mut self, entry: &Entry<'_>) {
        let len = entry_len(entry.name.len());
        put_entry(&mut self.bytes, self.end, entry, len);
        self.last = self.end;
        self.end += len;
    }

    /// Gives the rest of the block to the last entry, and adds the sum.
    fn finish(mut self, seed: u32) -> Vec<u8> {
        let rest = BLOCK - TAIL - self.last;
        put_u16(&mut self.bytes, self.last + 4, rest as u16);
        let tail = BLOCK - TAIL;
        put_u16(&mut self.bytes, tail + 4, TAIL as u16);
        self.bytes[tail + 7] = 0xde;
        let sum = crc::update(seed, &self.bytes[..tail]);
        put_u32(&mut self.bytes, tail + 8, sum);
        self.bytes
    }
}

fn put_entry(bytes: &mut [u8], at: usize, entry: &Entry<'_>, len: usize) {
    put_u32(bytes, at, entry.inode);
    put_u16(bytes, at + 4, len as u16);
    bytes[at + 6] = entry.name.len() as u8;
    bytes[at + 7] = entry.kind;
    bytes[at + 8..at + 8 + entry.name.len()].copy_from_slice(entry.name);
}

fn indexed(
    entries: &[Entry<'_>],
    own: u32,
    parent: u32,
    hashing: Hashing,
    seed: u32,
) -> Option<Blocks> {
    let mut sorted: Vec<_> = entries
        .iter()
        .map(|entry| (half_md4(entry.name, hashing.seed, hashing.signed), entry))
        .collect();
    sorted.sort_by_key(|(hash, _)| *hash);
    let mut leaves: Vec<Leaf> = Vec::new();
    for ((hash, _), entry) in sorted {
        match leaves.last_mut() {
            Some(leaf) if leaf.has_room(entry) => {
                leaf.add(entry);
                leaf.last_hash = hash;
            }
            last => {
                // The lowest bit: names of this hash are in the block before as well.
                let goes_on = last.is_some_and(|leaf| leaf.last_hash == hash);
                let mut leaf = Leaf::new(hash);
                leaf.first_hash |= u32::from(goes_on);
                leaf.add(entry);
                leaves.push(leaf);
            }
        }
    }
    // Below the root are the leaves, or nodes and then the leaves.
    let nodes = if leaves.len() <= IN_ROOT {
        0
    } else {
        leaves.len().div_ceil(IN_NODE)
    };
    if nodes > IN_ROOT {
        return None;
    }
    let places: Vec<(u32, u32)> = leaves
        .iter()
        .zip(1 + nodes..)
        .map(|(leaf, block)| (leaf.first_hash, block as u32))
        .collect();
    let mut bytes = vec![0; BLOCK];
    put_entry(&mut bytes, 0, &dot(b".", own), 12);
    put_entry(&mut bytes, 12, &dot(b"..", parent), BLOCK - 12);
    bytes[28] = HALF_MD4;
    bytes[29] = 8;
    bytes[30] = u8::from(nodes > 0);
    let groups: Vec<_> = places.chunks(IN_NODE).collect();
    if nodes > 0 {
        let above: Vec<(u32, u32)> = groups
            .iter()
            .zip(1..)
            .filter_map(|(group, block)| Some((group.first()?.0, block)))
            .collect();
        put_index(&mut bytes, 32, IN_ROOT, &above, seed);
        for group in groups {
            let mut node = vec![0; BLOCK];
            // An entry without a name that takes the whole block.
            put_u16(&mut node, 4, BLOCK as u16);
            put_index(&mut node, 8, IN_NODE, group, seed);
            bytes.extend_from_slice(&node);
        }
    } else {
        put_index(&mut bytes, 32, IN_ROOT, &places, seed);
    }
    for leaf in leaves {
        bytes.extend_from_slice(&leaf.finish(seed));
    }
    Some(Blocks {
        bytes,
        indexed: true,
    })
}

/// Writes hashes with their blocks, and the sum of the block behind the room for them.
fn put_index(block: &mut [u8], at: usize, limit: usize, places: &[(u32, u32)], seed: u32) {
    for (number, (hash, place)) in places.iter().enumerate() {
        put_u32(block, at + 8 * number, *hash);
        put_u32(block, at + 8 * number + 4, *place);
    }
    // The first hash is that of everything below the second; its place holds the counts.
    put_u16(block, at, limit as u16);
    put_u16(block, at + 2, places.len() as u16);
    let sum = crc::update(seed, &block[..at + 8 * places.len()]);
    let sum = crc::update(sum, &[0; 8]);
    put_u32(block, at + 8 * limit + 4, sum);
}
