//! Which file gets which inode.

use crate::disk::WriteAt;
use crate::fill::{Fill, FillError, LOST_AND_FOUND};
use crate::groups::Group;
use crate::inode::ROOT;
use crate::superblock::Superblock;
use crate::tree::{Content, InodeId};

impl<D: WriteAt> Fill<'_, D> {
    /// Gives every file its inode: those of a directory one after the other.
    pub(super) fn number(&mut self) -> Result<(), FillError> {
        let needed = self.tree.inodes.len() as u64;
        let free = self.superblock.free_inodes();
        // The root has one already.
        if needed - 1 > u64::from(free) {
            return Err(FillError::Inodes { free, needed });
        }
        let mut next = FreeInodes {
            // Those before are the file system's own.
            next: LOST_AND_FOUND.1 + 1,
        };
        self.numbers[0] = ROOT;
        self.links[0] = 2;
        self.order.push(InodeId::ROOT);
        let mut directories = vec![InodeId::ROOT];
        while let Some(directory) = directories.pop() {
            let names = self.tree.names(directory).ok_or(FillError::Tree)?;
            for (name, id) in names {
                let file = self.tree.get(*id).ok_or(FillError::Tree)?;
                if self.numbers[id.index()] != 0 {
                    // Only what is no directory has more names than one.
                    if matches!(file.content, Content::Directory(_)) {
                        return Err(FillError::Tree);
                    }
                    self.links[id.index()] += 1;
                    continue;
                }
                let is_lost_and_found = directory == InodeId::ROOT && **name == *LOST_AND_FOUND.0;
                self.numbers[id.index()] = if is_lost_and_found {
                    LOST_AND_FOUND.1
                } else {
                    next.take(&self.superblock, &self.groups)
                        .ok_or(FillError::NotNew)?
                };
                self.links[id.index()] = 1;
                self.order.push(*id);
                if matches!(file.content, Content::Directory(_)) {
                    self.links[id.index()] = 2;
                    self.links[directory.index()] += 1;
                    directories.push(*id);
                }
            }
        }
        if !self.has_own_lost_and_found() {
            self.links[0] += 1;
        }
        let numbers = &self.numbers;
        self.order.sort_unstable_by_key(|id| numbers[id.index()]);
        if self.order.len() != self.tree.inodes.len() {
            return Err(FillError::Tree);
        }
        Ok(())
    }
}

/// Hands out inodes in the order of their numbers.
struct FreeInodes {
    next: u32,
}

impl FreeInodes {
    fn take(&mut self, superblock: &Superblock, groups: &[Group]) -> Option<u32> {
        // In a new file system what is used is at the front: all behind it is free.
        let first = groups.first()?;
        let used = superblock.inodes_per_group - first.free_inodes();
        self.next = self.next.max(used + 1);
        let number = self.next;
        self.next += 1;
        (number <= superblock.inodes).then_some(number)
    }
}
