//! Group descriptors: where each group's bitmaps and inodes are, and how much of it is free.

use std::io;

use crate::crc;
use crate::disk::{ReadAt, WriteAt};
use crate::le::{put_split_u32, put_u16, split_u32, split_u64, u16_at};
use crate::superblock::{BLOCK, Sums, Superblock};

/// Bytes of a descriptor.
pub(crate) const LEN: usize = 64;
/// The inode bitmap and table were never written.
pub(crate) const INODE_UNINIT: u16 = 1;
/// The block bitmap was never written.
pub(crate) const BLOCK_UNINIT: u16 = 2;

/// A group's descriptor.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    bytes: [u8; LEN],
}

impl Group {
    pub(crate) fn block_bitmap(&self) -> u64 {
        split_u64(&self.bytes, 0x0, 0x20)
    }

    pub(crate) fn inode_bitmap(&self) -> u64 {
        split_u64(&self.bytes, 0x4, 0x24)
    }

    pub(crate) fn inode_table(&self) -> u64 {
        split_u64(&self.bytes, 0x8, 0x28)
    }

    pub(crate) fn free_blocks(&self) -> u32 {
        split_u32(&self.bytes, 0xc, 0x2c)
    }

    pub(crate) fn set_free_blocks(&mut self, count: u32) {
        put_split_u32(&mut self.bytes, 0xc, 0x2c, count);
    }

    pub(crate) fn free_inodes(&self) -> u32 {
        split_u32(&self.bytes, 0xe, 0x2e)
    }

    pub(crate) fn set_free_inodes(&mut self, count: u32) {
        put_split_u32(&mut self.bytes, 0xe, 0x2e, count);
    }

    pub(crate) fn directories(&self) -> u32 {
        split_u32(&self.bytes, 0x10, 0x30)
    }

    pub(crate) fn set_directories(&mut self, count: u32) {
        put_split_u32(&mut self.bytes, 0x10, 0x30, count);
    }

    /// Inodes at the end of the table that were never used.
    pub(crate) fn unused_inodes(&self) -> u32 {
        split_u32(&self.bytes, 0x1c, 0x32)
    }

    pub(crate) fn set_unused_inodes(&mut self, count: u32) {
        put_split_u32(&mut self.bytes, 0x1c, 0x32, count);
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        u16_at(&self.bytes, 0x12) & flag != 0
    }

    pub(crate) fn clear(&mut self, flag: u16) {
        let flags = u16_at(&self.bytes, 0x12) & !flag;
        put_u16(&mut self.bytes, 0x12, flags);
    }

    pub(crate) fn set_block_bitmap_sum(&mut self, sum: u32) {
        put_split_u32(&mut self.bytes, 0x18, 0x38, sum);
    }

    pub(crate) fn set_inode_bitmap_sum(&mut self, sum: u32) {
        put_split_u32(&mut self.bytes, 0x1a, 0x3a, sum);
    }

    fn sum(&self, number: u32, seed: u32) -> u16 {
        let mut bytes = self.bytes;
        put_u16(&mut bytes, 0x1e, 0);
        let sum = crc::update(seed, &number.to_le_bytes());
        crc::update(sum, &bytes) as u16
    }
}

/// Reads all descriptors; nothing if they are damaged or point out of the file system.
pub(crate) fn read(
    disk: &(impl ReadAt + ?Sized),
    superblock: &Superblock,
    sums: Sums,
) -> io::Result<Option<Vec<Group>>> {
    let table = u64::from(superblock.inodes_per_group / 16);
    let mut groups = Vec::new();
    let mut block = vec![0; BLOCK];
    for number in 0..superblock.groups() {
        let at = number as usize * LEN;
        if at.is_multiple_of(BLOCK) {
            disk.read_at(&mut block, (BLOCK + at) as u64)?;
        }
        let mut bytes = [0; LEN];
        bytes.copy_from_slice(&block[at % BLOCK..at % BLOCK + LEN]);
        let group = Group { bytes };
        let within = |start: u64, len| {
            let end = start.checked_add(len);
            start > 0 && end.is_some_and(|end| end <= superblock.blocks)
        };
        let fits = group.sum(number, superblock.seed) == u16_at(&group.bytes, 0x1e);
        if (sums == Sums::Checked && !fits)
            || !within(group.block_bitmap(), 1)
            || !within(group.inode_bitmap(), 1)
            || !within(group.inode_table(), table)
        {
            return Ok(None);
        }
        groups.push(group);
    }
    Ok(Some(groups))
}

/// Writes all descriptors with their sums.
pub(crate) fn write(
    disk: &impl WriteAt,
    superblock: &Superblock,
    groups: &mut [Group],
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(groups.len() * LEN);
    for (number, group) in groups.iter_mut().enumerate() {
        let sum = group.sum(number as u32, superblock.seed);
        put_u16(&mut group.bytes, 0x1e, sum);
        bytes.extend_from_slice(&group.bytes);
    }
    disk.write_at(&bytes, BLOCK as u64)
}
