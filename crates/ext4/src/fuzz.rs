//! Entry point of the fuzz target, also run by ordinary tests on damaged file systems.
//!
//! It promises to end, without a panic, whatever the bytes are.

#![expect(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "panicking is how a fuzz target speaks"
)]

use crate::read::{ReadLimits, read};
use crate::superblock::Sums;
use crate::tree::{Content, Tree};

/// Reads a disk of any bytes, whatever its checksums. A tree that comes out of it is one.
pub fn reader(disk: &[u8]) {
    let limits = ReadLimits {
        files: 10_000,
        names: 10_000,
        pieces: 10_000,
        depth: 100,
        sums: Sums::Ignored,
    };
    if let Ok(tree) = read(disk, &limits)
        && let Err(what) = check(&tree)
    {
        panic!("the tree has {what}");
    }
}

fn check(tree: &Tree) -> Result<(), &'static str> {
    let mut names = vec![0_u32; tree.inodes.len()];
    for inode in &tree.inodes {
        match &inode.content {
            Content::Directory(entries) => {
                for id in entries.values() {
                    *names.get_mut(id.index()).ok_or("a name of nothing")? += 1;
                }
            }
            Content::File(data) => {
                let mut end = 0;
                for piece in &data.pieces {
                    if piece.len == 0 || piece.at < end || piece.at + piece.len > data.size {
                        return Err("pieces out of order");
                    }
                    end = piece.at + piece.len;
                }
            }
            _ => {}
        }
    }
    for (inode, count) in tree.inodes.iter().zip(names).skip(1) {
        let is_directory = matches!(inode.content, Content::Directory(_));
        if count == 0 || (is_directory && count > 1) {
            return Err("a file without a name, or a directory with two");
        }
    }
    Ok(())
}
