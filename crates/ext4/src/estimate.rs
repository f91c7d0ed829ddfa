//! How large a file system has to be for a tree.

use crate::directory;
use crate::extents;
use crate::fill::blocks_of;
use crate::inode::FAST_SYMLINK;
use crate::superblock::BLOCK;
use crate::tree::{Content, Inode, InodeId, Tree};
use crate::xattr;

/// A file system for `mke2fs` to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// How many bytes it has: whole MiB.
    pub bytes: u64,
    /// How many inodes it has, at least.
    pub inodes: u64,
    /// How many MiB its journal has.
    pub journal_mib: u64,
}

/// What is free at least when the tree is in it.
const SLACK: u64 = 32 << 20;
/// Its part of what the tree takes that is free as well.
const SLACK_PART: u64 = 20;
/// A file system of less makes no sense for a machine, and cannot have the journal.
const MINIMUM: u64 = 256 << 20;
/// A group has as many blocks as its bitmap has bits.
const GROUP: u64 = (8 * BLOCK * BLOCK) as u64;
/// With more inodes in each group `mke2fs` would make the groups smaller.
const INODES_PER_GROUP: u64 = 24 << 10;
/// Inodes that are free at least.
const FREE_INODES: u64 = 4096;
/// As many as `mke2fs` makes by itself: one for each so many bytes. They cost nothing before they
/// are used, and are what each group has that the file system grows by.
const BYTES_PER_INODE: u64 = 16384;
/// What a machine's file system gets from `mke2fs` that is grown to some GiB; it does not grow
/// afterwards, and costs nothing before it is used.
const JOURNAL_MIB: u64 = 64;
const MIB: u64 = 1 << 20;

/// Reckons the size of a file system for a tree.
pub fn estimate(tree: &Tree) -> Estimate {
    let blocks: u64 = tree.inodes.iter().map(blocks_at_most).sum();
    // The directory that `mke2fs` makes is a name in the root.
    let names = tree
        .names(InodeId::ROOT)
        .map_or(0, |names| names.len() as u64);
    let content = (blocks + names / 64 + 8) * BLOCK as u64;
    let used = tree.inodes.len() as u64 + FREE_INODES;
    let mut bytes = MINIMUM;
    loop {
        let inodes = used.max(bytes / BYTES_PER_INODE);
        // Bitmaps, descriptors and the room for more of them: less than 1 part in 100.
        let overhead = inodes * 256 + bytes / 100 + 2 * MIB + JOURNAL_MIB * MIB;
        // The administrator's reserve is 1 part in 100 as well.
        let free = SLACK + content / SLACK_PART + bytes / 100;
        let needed = (content + overhead + free).next_multiple_of(MIB);
        let needed = needed.max(used.div_ceil(INODES_PER_GROUP) * GROUP);
        if needed <= bytes {
            return Estimate {
                bytes,
                inodes,
                journal_mib: JOURNAL_MIB,
            };
        }
        bytes = needed;
    }
}

/// How many blocks a file takes at most.
fn blocks_at_most(inode: &Inode) -> u64 {
    let xattrs = match xattr::divide(&inode.meta.xattrs) {
        Ok(divided) => u64::from(divided.needs_block()),
        Err(_) => 1,
    };
    let own = match &inode.content {
        Content::Directory(names) => {
            let blocks = directory::blocks_at_most(names.keys().map(|name| name.len()));
            blocks + blocks / 1000
        }
        Content::Symlink(target) if target.len() > FAST_SYMLINK => 1,
        Content::File(data) => {
            let runs = blocks_of(data).unwrap_or_default();
            let blocks: u64 = runs.iter().map(|run| run.len).sum();
            // A run is cut where it is too long, and by the groups' own blocks.
            let cuts = blocks / 4096 + 2;
            blocks + extents::index_blocks(runs.len() + cuts as usize) as u64
        }
        _ => 0,
    };
    own + xattrs
}
