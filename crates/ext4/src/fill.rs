//! Puts a tree into a file system that `mke2fs` has just made.
//!
//! All but the contents of files is written here; for these it is said where each piece goes, so
//! that the caller can write them in whatever order they come.

mod finish;
mod number;

use std::io;

use crate::bitmap::Space;
use crate::crc;
use crate::directory::{self, Entry, Hashing};
use crate::disk::WriteAt;
use crate::extents::{self, Extent, Run};
use crate::groups::{self, Group};
use crate::inode::{self, FAST_SYMLINK, Kind, ROOT, Record};
use crate::le::{u16_at, u32_at};
use crate::superblock::{BLOCK, Purpose, Sums, Superblock, SuperblockError};
use crate::tree::{Content, Data, InodeId, Tree};
use crate::xattr::{self, XattrError};

/// The directory that `mke2fs` makes for what `e2fsck` finds, and its inode.
const LOST_AND_FOUND: (&[u8], u32) = (b"lost+found", 11);
/// More names than an inode can count: `EXT4_LINK_MAX`.
const LINK_MAX: u32 = 65000;

/// Why a tree cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum FillError {
    /// It is no file system that can be filled.
    #[error("the file system cannot be filled")]
    Superblock(#[source] SuperblockError),
    /// The disk fails.
    #[error("failed to write the file system")]
    Disk(#[source] io::Error),
    /// Something is in it already, or it is damaged.
    #[error("the file system is not a new one")]
    NotNew,
    /// There is no room for the tree.
    #[error("the file system is too small")]
    Full,
    /// There are too few inodes for the tree.
    #[error("the file system has {free} free inodes, {needed} are needed")]
    Inodes {
        /// How many there are.
        free: u32,
        /// How many there have to be.
        needed: u64,
    },
    /// A file's attributes cannot be kept.
    #[error("{path:?} cannot be written")]
    Xattrs {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: XattrError,
    },
    /// A file has too many names, or a directory too many files.
    #[error("{path:?} has more names than ext4 can count")]
    Links {
        /// The file.
        path: String,
    },
    /// The tree breaks its own rules.
    #[error("the tree is not one")]
    Tree,
}

/// A part of a file's content, and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// Which source it comes from.
    pub source: u32,
    /// Where it begins in the source.
    pub from: u64,
    /// How many bytes it has.
    pub len: u64,
    /// Where it begins on the disk.
    pub to: u64,
}

/// Writes all of a tree but the contents of its files; gives what is to be written where, in the
/// order of the sources and of the places in them.
///
/// What is not written of the files' blocks has to be zeros already, as it is in a new file. If
/// this fails the file system is not usable.
pub fn fill(disk: &impl WriteAt, tree: &Tree) -> Result<Vec<Copy>, FillError> {
    let superblock =
        Superblock::read(disk, Purpose::Fill, Sums::Checked).map_err(FillError::Superblock)?;
    let groups = groups::read(disk, &superblock, Sums::Checked).map_err(FillError::Disk)?;
    let groups = groups.ok_or(FillError::NotNew)?;
    let space = Space::read(disk, &superblock, &groups).map_err(FillError::Disk)?;
    let (seed, signed) = superblock.hash_seed();
    let mut fill = Fill {
        disk,
        tree,
        superblock,
        groups,
        space,
        hashing: Hashing { seed, signed },
        numbers: vec![0; tree.inodes.len()],
        links: vec![0; tree.inodes.len()],
        order: Vec::with_capacity(tree.inodes.len()),
        records: Vec::new(),
        copies: Vec::new(),
    };
    fill.clear()?;
    fill.number()?;
    fill.records.resize_with(tree.inodes.len(), || None);
    fill.directories()?;
    fill.others()?;
    fill.files()?;
    fill.write_inodes()?;
    fill.write_groups()?;
    fill.copies.sort_unstable();
    Ok(fill.copies)
}

struct Fill<'a, D> {
    disk: &'a D,
    tree: &'a Tree,
    superblock: Superblock,
    groups: Vec<Group>,
    space: Space,
    hashing: Hashing,
    /// The inode number of each file, 0 before it has one.
    numbers: Vec<u32>,
    /// How many names each file has, as its inode counts them.
    links: Vec<u32>,
    /// All files, by their inode numbers.
    order: Vec<InodeId>,
    records: Vec<Option<Record>>,
    copies: Vec<Copy>,
}

impl<D: WriteAt> Fill<'_, D> {
    fn inode_at(&self, number: u32) -> u64 {
        let per_group = self.superblock.inodes_per_group;
        let (group, index) = ((number - 1) / per_group, (number - 1) % per_group);
        let table = self.groups[group as usize].inode_table();
        table * BLOCK as u64 + u64::from(index) * inode::LEN as u64
    }

    /// Takes away what `mke2fs` has put into the root directory.
    fn clear(&mut self) -> Result<(), FillError> {
        let mut free = vec![ROOT];
        if self.has_own_lost_and_found() {
            free.push(LOST_AND_FOUND.1);
        }
        for number in free {
            let mut bytes = [0; inode::LEN];
            let read = self.disk.read_at(&mut bytes, self.inode_at(number));
            read.map_err(FillError::Disk)?;
            let is_directory = Kind::of_mode(u16_at(&bytes, 0)) == Some(Kind::Directory);
            let is_extent = u16_at(&bytes, 0x28) == extents::MAGIC && u16_at(&bytes, 0x2e) == 0;
            let count = usize::from(u16_at(&bytes, 0x2a));
            if !is_directory || !is_extent || count > extents::IN_INODE {
                return Err(FillError::NotNew);
            }
            for extent in 0..count {
                let at = 0x28 + 12 + 12 * extent;
                let high = u64::from(u16_at(&bytes, at + 6)) << 32;
                let run = Run {
                    start: high | u64::from(u32_at(&bytes, at + 8)),
                    len: u64::from(u16_at(&bytes, at + 4)),
                };
                if run.len > 16 || run.start + run.len > self.superblock.blocks {
                    return Err(FillError::NotNew);
                }
                // What becomes part of a file has to be zeros.
                let zeros = vec![0; run.len as usize * BLOCK];
                self.write(run.start, &zeros)?;
                self.space.free(run);
            }
        }
        Ok(())
    }

    fn has_own_lost_and_found(&self) -> bool {
        let names = self.tree.names(InodeId::ROOT);
        names.is_some_and(|names| names.contains_key(LOST_AND_FOUND.0))
    }

    fn write(&self, block: u64, bytes: &[u8]) -> Result<(), FillError> {
        let written = self.disk.write_at(bytes, block * BLOCK as u64);
        written.map_err(FillError::Disk)
    }

    fn path(&self, id: InodeId) -> String {
        let path = self.tree.path_of(id).unwrap_or_default();
        String::from_utf8_lossy(&path).into_owned()
    }

    fn inode_seed(&self, id: InodeId) -> u32 {
        crc::of_inode(self.superblock.seed, self.numbers[id.index()], 0)
    }

    /// Begins the record of a file: its attributes, and a block for them if they need one.
    fn begin(&mut self, id: InodeId) -> Result<Record, FillError> {
        let file = &self.tree.inodes[id.index()];
        let divided = xattr::divide(&file.meta.xattrs).map_err(|source| FillError::Xattrs {
            path: self.path(id),
            source,
        })?;
        let links = self.links[id.index()];
        if links >= LINK_MAX && !matches!(file.content, Content::Directory(_)) {
            return Err(FillError::Links {
                path: self.path(id),
            });
        }
        let mut record = Record {
            kind: Kind::of(&file.content),
            links,
            size: 0,
            blocks: 0,
            flags: 0,
            block: [0; 60],
            xattr_block: 0,
            xattrs: divided.in_inode(),
        };
        if divided.needs_block() {
            let place = self.take_one()?;
            self.write(place, &divided.block(place, self.superblock.seed))?;
            record.xattr_block = place;
            record.blocks += 1;
        }
        Ok(record)
    }

    fn take(&mut self, count: u64) -> Result<Vec<Run>, FillError> {
        self.space.take(count).ok_or(FillError::Full)
    }

    fn take_one(&mut self) -> Result<u64, FillError> {
        let runs = self.take(1)?;
        runs.first().map(|run| run.start).ok_or(FillError::Full)
    }

    /// Puts blocks of a file's into its record, and takes blocks for them.
    fn place(
        &mut self,
        id: InodeId,
        record: &mut Record,
        file: &[Run],
    ) -> Result<Vec<Extent>, FillError> {
        let count: u64 = file.iter().map(|run| run.len).sum();
        let runs = self.take(count)?;
        let extents = extents::lay(file, &runs);
        let mut places = Vec::new();
        for _ in 0..extents::index_blocks(extents.len()) {
            places.push(self.take_one()?);
        }
        let tree = extents::build(&extents, &places, self.inode_seed(id));
        for (place, block) in &tree.blocks {
            self.write(*place, block)?;
        }
        record.block = tree.root;
        record.flags |= inode::EXTENTS;
        record.blocks += count + places.len() as u64;
        Ok(extents)
    }

    /// Writes bytes that are all of a file's content.
    fn content(&mut self, id: InodeId, record: &mut Record, bytes: &[u8]) -> Result<(), FillError> {
        let run = Run {
            start: 0,
            len: (bytes.len() as u64).div_ceil(BLOCK as u64),
        };
        for extent in self.place(id, record, &[run])? {
            let from = extent.at as usize * BLOCK;
            let to = (from + extent.len as usize * BLOCK).min(bytes.len());
            self.write(extent.start, &bytes[from..to])?;
        }
        record.size = bytes.len() as u64;
        Ok(())
    }

    fn directories(&mut self) -> Result<(), FillError> {
        // A directory is asked for its parent's number.
        let mut parents = vec![ROOT; self.tree.inodes.len()];
        for (directory, inode) in self.tree.inodes.iter().enumerate() {
            if let Content::Directory(names) = &inode.content {
                for id in names.values() {
                    parents[id.index()] = self.numbers[directory];
                }
            }
        }
        for place in 0..self.order.len() {
            let tree = self.tree;
            let id = self.order[place];
            let Some(names) = tree.names(id) else {
                continue;
            };
            let mut record = self.begin(id)?;
            let mut entries: Vec<_> = names
                .iter()
                .map(|(name, id)| Entry {
                    name,
                    inode: self.numbers[id.index()],
                    kind: Kind::of(&tree.inodes[id.index()].content).in_directory(),
                })
                .collect();
            if id == InodeId::ROOT && !self.has_own_lost_and_found() {
                entries.push(Entry {
                    name: LOST_AND_FOUND.0,
                    inode: LOST_AND_FOUND.1,
                    kind: Kind::Directory.in_directory(),
                });
            }
            if entries
                .iter()
                .any(|entry| entry.name.is_empty() || entry.name.len() > 255)
            {
                return Err(FillError::Tree);
            }
            let own = self.numbers[id.index()];
            let seed = self.inode_seed(id);
            let parent = parents[id.index()];
            let blocks = directory::build(&entries, own, parent, self.hashing, seed);
            let blocks = blocks.ok_or_else(|| FillError::Links {
                path: self.path(id),
            })?;
            if blocks.indexed {
                record.flags |= inode::INDEX;
            }
            self.content(id, &mut record, &blocks.bytes)?;
            self.records[id.index()] = Some(record);
        }
        Ok(())
    }

    /// What is neither directory nor file.
    fn others(&mut self) -> Result<(), FillError> {
        for place in 0..self.order.len() {
            let tree = self.tree;
            let id = self.order[place];
            let content = &tree.inodes[id.index()].content;
            if matches!(content, Content::Directory(_) | Content::File(_)) {
                continue;
            }
            let mut record = self.begin(id)?;
            match content {
                Content::Symlink(target) if target.len() <= FAST_SYMLINK => {
                    record.block[..target.len()].copy_from_slice(target);
                    record.size = target.len() as u64;
                }
                Content::Symlink(target) => self.content(id, &mut record, target)?,
                Content::Character(device) | Content::Block(device) => {
                    record.block = inode::device(*device);
                }
                Content::Directory(_) | Content::File(_) | Content::Fifo | Content::Socket => {}
            }
            self.records[id.index()] = Some(record);
        }
        Ok(())
    }

    /// Files, in the order in which their contents come.
    fn files(&mut self) -> Result<(), FillError> {
        let mut files: Vec<_> = self
            .order
            .iter()
            .filter_map(|id| match &self.tree.inodes[id.index()].content {
                Content::File(data) => Some((*id, data)),
                _ => None,
            })
            .collect();
        files.sort_by_key(|(_, data)| data.pieces.first().map(|piece| (piece.source, piece.from)));
        for (id, data) in files {
            let mut record = self.begin(id)?;
            let runs = blocks_of(data).ok_or(FillError::Tree)?;
            let extents = self.place(id, &mut record, &runs)?;
            self.copy(data, &extents);
            record.size = data.size;
            self.records[id.index()] = Some(record);
        }
        Ok(())
    }

    /// Notes where the pieces of a file go.
    fn copy(&mut self, data: &Data, extents: &[Extent]) {
        let block = BLOCK as u64;
        let mut extents = extents.iter().peekable();
        for piece in &data.pieces {
            let (mut at, end) = (piece.at, piece.at + piece.len);
            while at < end {
                let Some(extent) = extents.peek() else {
                    return;
                };
                let start = u64::from(extent.at) * block;
                let until = start + u64::from(extent.len) * block;
                if until <= at {
                    extents.next();
                    continue;
                }
                let len = until.min(end) - at;
                self.copies.push(Copy {
                    source: piece.source,
                    from: piece.from + (at - piece.at),
                    len,
                    to: extent.start * block + (at - start),
                });
                at += len;
            }
        }
    }
}

/// The blocks of a file that are not holes; nothing if its pieces break the rules.
pub(crate) fn blocks_of(data: &Data) -> Option<Vec<Run>> {
    let block = BLOCK as u64;
    let mut runs: Vec<Run> = Vec::new();
    let mut end = 0;
    for piece in &data.pieces {
        if piece.at < end || piece.len == 0 {
            return None;
        }
        end = piece
            .at
            .checked_add(piece.len)
            .filter(|end| *end <= data.size)?;
        let (first, until) = (piece.at / block, end.div_ceil(block));
        match runs.last_mut() {
            Some(run) if run.start + run.len >= first => run.len = until - run.start,
            _ => runs.push(Run {
                start: first,
                len: until - first,
            }),
        }
    }
    u32::try_from(data.size.div_ceil(block)).ok().map(|_| runs)
}
