//! Inodes, bitmaps, descriptors and the superblock: what is written when all else has its place.

use crate::bitmap::zeros;
use crate::crc;
use crate::disk::WriteAt;
use crate::fill::{Fill, FillError};
use crate::groups::{self, BLOCK_UNINIT, Group, INODE_UNINIT};
use crate::inode;
use crate::superblock::{self, BLOCK};
use crate::tree::InodeId;

impl<D: WriteAt> Fill<'_, D> {
    pub(super) fn write_inodes(&mut self) -> Result<(), FillError> {
        let mut block = vec![0; BLOCK];
        let mut loaded = None;
        for place in 0..self.order.len() {
            let id = self.order[place];
            let file = &self.tree.inodes[id.index()];
            let number = self.numbers[id.index()];
            let record = self.records[id.index()].take().ok_or(FillError::Tree)?;
            let bytes = record.encode(&file.meta, number, self.superblock.seed);
            let at = self.inode_at(number);
            let home = at / BLOCK as u64;
            if loaded != Some(home) {
                if let Some(before) = loaded {
                    self.write(before, &block)?;
                }
                let read = self.disk.read_at(&mut block, home * BLOCK as u64);
                read.map_err(FillError::Disk)?;
                loaded = Some(home);
            }
            let within = (at % BLOCK as u64) as usize;
            block[within..within + inode::LEN].copy_from_slice(&bytes);
        }
        loaded.map_or(Ok(()), |last| self.write(last, &block))
    }

    pub(super) fn write_groups(&mut self) -> Result<(), FillError> {
        let seed = self.superblock.seed;
        self.write_inode_bitmaps()?;
        let mut freed = i64::try_from(self.superblock.free_blocks()).unwrap_or(i64::MAX);
        for number in 0..self.groups.len() {
            let Some(bits) = self.space.changed(number) else {
                continue;
            };
            let group = &mut self.groups[number];
            let free = zeros(bits);
            freed += i64::from(free) - i64::from(group.free_blocks());
            group.set_free_blocks(free);
            group.clear(BLOCK_UNINIT);
            group.set_block_bitmap_sum(crc::update(seed, bits));
            let place = group.block_bitmap();
            self.write(place, bits)?;
        }
        groups::write(self.disk, &self.superblock, &mut self.groups).map_err(FillError::Disk)?;
        let inodes = self.groups.iter().map(Group::free_inodes).sum();
        let free = u64::try_from(freed).map_err(|_| FillError::NotNew)?;
        let bytes = self.superblock.with_free(free, inodes);
        let written = self.disk.write_at(&bytes, superblock::AT);
        written.map_err(FillError::Disk)
    }

    fn write_inode_bitmaps(&mut self) -> Result<(), FillError> {
        let per_group = self.superblock.inodes_per_group;
        let own_lost_and_found = self.has_own_lost_and_found();
        let mut start = 0;
        while start < self.order.len() {
            let group_of = |id: &InodeId| (self.numbers[id.index()] - 1) / per_group;
            let number = group_of(&self.order[start]);
            let end = start + self.order[start..].partition_point(|id| group_of(id) == number);
            let mut group = self.groups[number as usize].clone();
            let place = group.inode_bitmap();
            let mut bits = vec![u8::MAX; BLOCK];
            let used = (per_group / 8) as usize;
            if group.has(INODE_UNINIT) {
                bits[..used].fill(0);
            } else {
                let read = self.disk.read_at(&mut bits, place * BLOCK as u64);
                read.map_err(FillError::Disk)?;
            }
            // The root counts already, as does the other directory that was there.
            let mut directories = i64::from(group.directories());
            if number == 0 {
                directories -= 1 + i64::from(own_lost_and_found);
            }
            let mut last = 0;
            for id in &self.order[start..end] {
                last = (self.numbers[id.index()] - 1) % per_group;
                bits[(last / 8) as usize] |= 1 << (last % 8);
                let is_directory = self.tree.names(*id).is_some();
                directories += i64::from(is_directory);
            }
            group.clear(INODE_UNINIT);
            group.set_free_inodes(zeros(&bits[..used]));
            group.set_directories(u32::try_from(directories).map_err(|_| FillError::NotNew)?);
            let unused = group.unused_inodes().min(per_group - 1 - last);
            group.set_unused_inodes(unused);
            let sum = crc::update(self.superblock.seed, &bits[..used]);
            group.set_inode_bitmap_sum(sum);
            self.write(place, &bits)?;
            self.groups[number as usize] = group;
            start = end;
        }
        Ok(())
    }
}
