//! Which blocks of the file system are in use, and handing out those that are not.

use std::io;

use crate::disk::ReadAt;
use crate::extents::Run;
use crate::groups::{BLOCK_UNINIT, Group};
use crate::superblock::{BLOCK, Superblock};

/// A bit for each block, in the order and form of the bitmaps on the disk.
pub(crate) struct Space {
    bits: Vec<u8>,
    blocks: u64,
    /// No block below is free.
    next: u64,
    /// For each group whether it is not what it was.
    changed: Vec<bool>,
}

impl Space {
    /// Reads the bitmaps, and works out those that were never written.
    pub(crate) fn read(
        disk: &impl ReadAt,
        superblock: &Superblock,
        groups: &[Group],
    ) -> io::Result<Self> {
        let mut space = Self {
            bits: vec![0; groups.len() * BLOCK],
            blocks: superblock.blocks,
            next: 0,
            changed: vec![false; groups.len()],
        };
        let tables = u64::from(superblock.inodes_per_group / 16);
        let copy = 1 + superblock.descriptor_blocks() + superblock.reserved_descriptor_blocks();
        for (number, group) in groups.iter().enumerate() {
            if group.has(BLOCK_UNINIT) {
                let first = number as u64 * u64::from(superblock.blocks_per_group);
                if has_superblock(number as u32) {
                    space.mark(first, u64::from(copy));
                }
            } else {
                let bits = &mut space.bits[number * BLOCK..(number + 1) * BLOCK];
                disk.read_at(bits, group.block_bitmap() * BLOCK as u64)?;
            }
        }
        // With `flex_bg` these lie in other groups, also in those without a bitmap.
        for group in groups {
            space.mark(group.block_bitmap(), 1);
            space.mark(group.inode_bitmap(), 1);
            space.mark(group.inode_table(), tables);
        }
        let all = 8 * space.bits.len() as u64;
        space.mark(superblock.blocks, all - superblock.blocks);
        space.changed.fill(false);
        Ok(space)
    }

    fn is_used(&self, block: u64) -> bool {
        self.bits[(block / 8) as usize] & 1 << (block % 8) != 0
    }

    fn mark(&mut self, start: u64, len: u64) {
        for block in start..(start + len).min(8 * self.bits.len() as u64) {
            self.bits[(block / 8) as usize] |= 1 << (block % 8);
            self.changed[(block / (8 * BLOCK as u64)) as usize] = true;
        }
    }

    /// Gives blocks back; they have to be in use.
    pub(crate) fn free(&mut self, run: Run) {
        for block in run.start..run.start + run.len {
            self.bits[(block / 8) as usize] &= !(1 << (block % 8));
            self.changed[(block / (8 * BLOCK as u64)) as usize] = true;
        }
        self.next = self.next.min(run.start);
    }

    /// Takes as many blocks as asked for, in as few runs as there are on the way through the disk;
    /// nothing if there are not enough.
    pub(crate) fn take(&mut self, count: u64) -> Option<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        let mut left = count;
        while left > 0 {
            let start = self.next_free()?;
            let mut len = 0;
            while len < left && start + len < self.blocks && !self.is_used(start + len) {
                len += 1;
            }
            self.mark(start, len);
            self.next = start + len;
            runs.push(Run { start, len });
            left -= len;
        }
        Some(runs)
    }

    fn next_free(&self) -> Option<u64> {
        let mut block = self.next;
        while block < self.blocks {
            // Most of what is passed over is used as a whole.
            if block.is_multiple_of(8) && self.bits[(block / 8) as usize] == u8::MAX {
                block += 8;
            } else if self.is_used(block) {
                block += 1;
            } else {
                return Some(block);
            }
        }
        None
    }

    /// The bitmap of a group, if it is not what it was.
    pub(crate) fn changed(&self, group: usize) -> Option<&[u8]> {
        let bits = &self.bits[group * BLOCK..(group + 1) * BLOCK];
        self.changed[group].then_some(bits)
    }
}

/// How many bits of a bitmap are not set.
pub(crate) fn zeros(bits: &[u8]) -> u32 {
    bits.iter().map(|byte| byte.count_zeros()).sum()
}

/// Whether a group has a copy of the superblock: `sparse_super`.
fn has_superblock(group: u32) -> bool {
    let is_power_of = |base: u32| {
        let mut rest = group;
        while rest > 1 && rest.is_multiple_of(base) {
            rest /= base;
        }
        rest == 1
    };
    group <= 1 || is_power_of(3) || is_power_of(5) || is_power_of(7)
}

#[cfg(test)]
mod test {
    use super::has_superblock;

    #[test]
    fn copies_of_the_superblock_are_in_few_groups() {
        let groups: Vec<_> = (0..130).filter(|group| has_superblock(*group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }
}
