//! Extent trees: which blocks of a file are where.

use crate::crc;
use crate::le::{put_u16, put_u32};
use crate::superblock::BLOCK;

/// Blocks one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first.
    pub(crate) start: u64,
    /// How many.
    pub(crate) len: u64,
}

/// A run of a file's blocks, and where it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    /// The first of the file's blocks.
    pub(crate) at: u32,
    /// How many; at most [`LONGEST`].
    pub(crate) len: u32,
    /// The first block on the disk.
    pub(crate) start: u64,
}

/// What an extent can hold at most; above are those that count as not written.
const LONGEST: u64 = 32768;
/// How many extents fit into an inode.
pub(crate) const IN_INODE: usize = 4;
/// How many fit into a block: 12 bytes for the header, and the rest of 4 bytes is the sum.
pub(crate) const IN_BLOCK: usize = (BLOCK - 12) / 12;
pub(crate) const MAGIC: u16 = 0xf30a;

/// Lays runs of a file's blocks onto runs of the disk's, which are as many together.
pub(crate) fn lay(file: &[Run], disk: &[Run]) -> Vec<Extent> {
    let mut extents = Vec::new();
    let mut there = disk.iter().copied();
    let mut to = Run { start: 0, len: 0 };
    for run in file {
        let mut from = *run;
        while from.len > 0 {
            if to.len == 0 {
                let Some(next) = there.next() else {
                    return extents;
                };
                to = next;
            }
            let len = from.len.min(to.len).min(LONGEST);
            extents.push(Extent {
                at: from.start as u32,
                len: len as u32,
                start: to.start,
            });
            from = Run {
                start: from.start + len,
                len: from.len - len,
            };
            to = Run {
                start: to.start + len,
                len: to.len - len,
            };
        }
    }
    extents
}

/// How many blocks the tree of so many extents takes besides the inode.
pub(crate) fn index_blocks(extents: usize) -> usize {
    let (mut nodes, mut blocks) = (extents, 0);
    while nodes > IN_INODE {
        nodes = nodes.div_ceil(IN_BLOCK);
        blocks += nodes;
    }
    blocks
}

/// A tree of extents: what goes into the inode, and blocks to be written.
pub(crate) struct ExtentTree {
    pub(crate) root: [u8; 60],
    pub(crate) blocks: Vec<(u64, Vec<u8>)>,
}

/// Builds the tree of a file; `places` are [`index_blocks`] blocks, `seed` is the inode's.
pub(crate) fn build(extents: &[Extent], places: &[u64], seed: u32) -> ExtentTree {
    // An entry of a node: its key, and its 12 bytes.
    let mut level: Vec<(u32, [u8; 12])> = extents
        .iter()
        .map(|extent| {
            let mut entry = [0; 12];
            put_u32(&mut entry, 0, extent.at);
            put_u16(&mut entry, 4, extent.len as u16);
            put_u16(&mut entry, 6, (extent.start >> 32) as u16);
            put_u32(&mut entry, 8, extent.start as u32);
            (extent.at, entry)
        })
        .collect();
    let mut places = places.iter().copied();
    let mut blocks = Vec::new();
    let mut depth = 0;
    while level.len() > IN_INODE {
        let mut above = Vec::new();
        for (entries, place) in level.chunks(IN_BLOCK).zip(&mut places) {
            let mut block = vec![0; BLOCK];
            node(&mut block, entries, IN_BLOCK, depth);
            let end = 12 + 12 * IN_BLOCK;
            let sum = crc::update(seed, &block[..end]);
            put_u32(&mut block, end, sum);
            blocks.push((place, block));
            let first = entries.first().map_or(0, |(key, _)| *key);
            let mut entry = [0; 12];
            put_u32(&mut entry, 0, first);
            put_u32(&mut entry, 4, place as u32);
            put_u16(&mut entry, 8, (place >> 32) as u16);
            above.push((first, entry));
        }
        level = above;
        depth += 1;
    }
    let mut root = [0; 60];
    node(&mut root, &level, IN_INODE, depth);
    ExtentTree { root, blocks }
}

fn node(bytes: &mut [u8], entries: &[(u32, [u8; 12])], max: usize, depth: u16) {
    put_u16(bytes, 0, MAGIC);
    put_u16(bytes, 2, entries.len() as u16);
    put_u16(bytes, 4, max as u16);
    put_u16(bytes, 6, depth);
    for (number, (_, entry)) in entries.iter().enumerate() {
        bytes[12 + 12 * number..24 + 12 * number].copy_from_slice(entry);
    }
}
