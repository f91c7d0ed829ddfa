//! Reads the tree of a file system that a guest has written, which is hostile: every number is
//! checked, and memory and work are bounded by [`ReadLimits`].

use std::collections::{HashMap, VecDeque};
use std::io;

use crate::disk::ReadAt;
use crate::groups::{self, Group};
use crate::inode::{self, Kind, ROOT};
use crate::le::{u16_at, u32_at};
use crate::read_inode::RawInode;
use crate::superblock::{BLOCK, Purpose, Sums, Superblock, SuperblockError};
use crate::tree::{Content, Data, Device, Inode, InodeId, Metadata, Names, Piece, Tree};

/// How much a file system may hold before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Files.
    pub files: u32,
    /// Names, which a file may have several of.
    pub names: u32,
    /// Pieces of files.
    pub pieces: u32,
    /// Directories in each other.
    pub depth: u32,
    /// Whether checksums have to fit.
    pub sums: Sums,
}

impl ReadLimits {
    /// What is plenty for every real file system, and little enough for the host's memory.
    pub const DEFAULT: Self = Self {
        files: 4_000_000,
        names: 8_000_000,
        pieces: 16_000_000,
        depth: 1000,
        sums: Sums::Checked,
    };
}

/// Why a file system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is none, or one that cannot be read.
    #[error("the file system cannot be read")]
    Superblock(#[source] SuperblockError),
    /// The disk fails.
    #[error("failed to read the disk")]
    Disk(#[source] io::Error),
    /// It does not fit together.
    #[error("the file system is damaged: {what} of inode {inode}")]
    Damaged {
        /// The inode; 0 for what belongs to none.
        inode: u32,
        /// What of it.
        what: &'static str,
    },
    /// It uses what this crate does not know.
    #[error("inode {inode} cannot be read: {what} are not supported")]
    Unsupported {
        /// The inode.
        inode: u32,
        /// What it has.
        what: &'static str,
    },
    /// It holds too much.
    #[error("the file system has more than {limit} {what}")]
    TooMuch {
        /// What of.
        what: &'static str,
        /// How many it may have.
        limit: u32,
    },
}

/// Reads all names and attributes. The pieces of files are places on the disk, of the source 0.
///
/// The directory `lost+found` is left out if it is empty. A file system whose journal has to be
/// replayed is refused: `e2fsck` does that, on a copy.
pub fn read(disk: &(impl ReadAt + ?Sized), limits: &ReadLimits) -> Result<Tree, ReadError> {
    let superblock = Superblock::read(disk, Purpose::Read, limits.sums);
    let superblock = superblock.map_err(ReadError::Superblock)?;
    let groups = groups::read(disk, &superblock, limits.sums).map_err(ReadError::Disk)?;
    let groups = groups.ok_or(ReadError::Damaged {
        inode: 0,
        what: "a group descriptor",
    })?;
    let mut reader = Reader {
        disk,
        limits,
        superblock,
        groups,
        names: 0,
        pieces: 0,
    };
    reader.tree()
}

pub(crate) struct Reader<'a, D: ?Sized> {
    pub(crate) disk: &'a D,
    pub(crate) limits: &'a ReadLimits,
    pub(crate) superblock: Superblock,
    groups: Vec<Group>,
    names: u32,
    pieces: u32,
}

/// A name in a directory, and the inode it leads to.
type Entry = (Box<[u8]>, u32);

impl<D: ReadAt + ?Sized> Reader<'_, D> {
    fn tree(&mut self) -> Result<Tree, ReadError> {
        let mut tree = Tree { inodes: Vec::new() };
        let mut ids: HashMap<u32, InodeId> = HashMap::new();
        // Directories whose names are to be read, with how deep they are.
        let mut waiting: VecDeque<(InodeId, Vec<Entry>, u32)> = VecDeque::new();
        let (root, entries) = self.inode(ROOT)?;
        let entries = entries.ok_or(damaged(ROOT, "the kind"))?;
        tree.inodes.push(root);
        ids.insert(ROOT, InodeId::ROOT);
        waiting.push_back((InodeId::ROOT, entries, 0));
        while let Some((directory, entries, depth)) = waiting.pop_front() {
            let mut names = Names::new();
            for (name, number) in entries {
                self.names += 1;
                within("names", self.names, self.limits.names)?;
                let id = if let Some(id) = ids.get(&number) {
                    // A directory has one name, or there would be circles.
                    if tree.names(*id).is_some() {
                        return Err(damaged(number, "a second name"));
                    }
                    *id
                } else {
                    let (inode, entries) = self.inode(number)?;
                    let empty = entries.as_ref().is_some_and(Vec::is_empty);
                    if directory == InodeId::ROOT && *name == *b"lost+found" && empty {
                        continue;
                    }
                    let id = InodeId(tree.inodes.len() as u32);
                    tree.inodes.push(inode);
                    within("files", tree.inodes.len() as u32, self.limits.files)?;
                    ids.insert(number, id);
                    if let Some(entries) = entries {
                        within("directories in each other", depth, self.limits.depth)?;
                        waiting.push_back((id, entries, depth + 1));
                    }
                    id
                };
                if names.insert(name, id).is_some() {
                    return Err(damaged(number, "a name that is there twice"));
                }
            }
            if let Some(inode) = tree.inodes.get_mut(directory.index()) {
                inode.content = Content::Directory(names);
            }
        }
        Ok(tree)
    }

    /// Where an inode is on the disk.
    pub(crate) fn place(&self, number: u32) -> Option<u64> {
        let per_group = self.superblock.inodes_per_group;
        let index = number.checked_sub(1)?;
        let group = self.groups.get((index / per_group) as usize)?;
        let within = u64::from(index % per_group) * inode::LEN as u64;
        Some(group.inode_table() * BLOCK as u64 + within)
    }

    /// An inode, and the names in it if it is a directory, whose content is left empty.
    fn inode(&mut self, number: u32) -> Result<(Inode, Option<Vec<Entry>>), ReadError> {
        let raw = RawInode::read(self, number)?;
        let meta = Metadata {
            mode: raw.mode() & 0o7777,
            uid: raw.uid(),
            gid: raw.gid(),
            mtime: raw.mtime(),
            xattrs: raw.xattrs(self)?,
        };
        let mut entries = None;
        let content = match raw.kind()? {
            Kind::Directory => {
                entries = Some(self.entries(&raw)?);
                Content::Directory(Names::new())
            }
            Kind::File => Content::File(self.data(&raw)?),
            Kind::Symlink => Content::Symlink(self.target(&raw)?),
            Kind::Character => Content::Character(raw.device()),
            Kind::Block => Content::Block(raw.device()),
            Kind::Fifo => Content::Fifo,
            Kind::Socket => Content::Socket,
        };
        Ok((Inode { meta, content }, entries))
    }

    /// The pieces of a file's content.
    fn data(&mut self, raw: &RawInode) -> Result<Data, ReadError> {
        let size = raw.size();
        let mut pieces: Vec<Piece> = Vec::new();
        for (at, len, from) in raw.ranges(self)? {
            if at >= size {
                break;
            }
            let len = len.min(size - at);
            match pieces.last_mut() {
                Some(last) if last.at + last.len == at && last.from + last.len == from => {
                    last.len += len;
                }
                _ => pieces.push(Piece {
                    at,
                    len,
                    source: 0,
                    from,
                }),
            }
        }
        self.pieces = self.pieces.saturating_add(pieces.len() as u32);
        within("pieces of files", self.pieces, self.limits.pieces)?;
        Ok(Data { size, pieces })
    }

    /// All of a small content.
    fn bytes(&mut self, raw: &RawInode, limit: u64) -> Result<Vec<u8>, ReadError> {
        let data = self.data(raw)?;
        if data.size > limit {
            return Err(damaged(raw.number, "the size"));
        }
        let mut bytes = vec![0; data.size as usize];
        for piece in &data.pieces {
            let to = &mut bytes[piece.at as usize..(piece.at + piece.len) as usize];
            let read = self.disk.read_at(to, piece.from);
            read.map_err(ReadError::Disk)?;
        }
        Ok(bytes)
    }

    fn target(&mut self, raw: &RawInode) -> Result<Box<[u8]>, ReadError> {
        let target = match raw.fast_target() {
            Some(target) => target.to_vec(),
            None => self.bytes(raw, BLOCK as u64 - 1)?,
        };
        if target.is_empty() || target.contains(&0) {
            return Err(damaged(raw.number, "the target"));
        }
        Ok(target.into_boxed_slice())
    }

    /// The names in a directory, without those of itself and its parent.
    fn entries(&mut self, raw: &RawInode) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        if raw.is_inline() {
            // The parent's number, and then two parts of entries.
            let parts = [Some(raw.inline_block()), raw.inline_rest()];
            for (number, part) in parts.into_iter().flatten().enumerate() {
                let part = if number == 0 {
                    part.get(4..)
                } else {
                    Some(part)
                };
                self.block_entries(raw.number, part.unwrap_or_default(), &mut entries)?;
            }
            return Ok(entries);
        }
        let block = BLOCK as u64;
        if !raw.size().is_multiple_of(block) {
            return Err(damaged(raw.number, "the size"));
        }
        let mut buffer = vec![0; BLOCK];
        for piece in self.data(raw)?.pieces {
            for offset in (0..piece.len).step_by(BLOCK) {
                let read = self.disk.read_at(&mut buffer, piece.from + offset);
                read.map_err(ReadError::Disk)?;
                self.block_entries(raw.number, &buffer, &mut entries)?;
            }
        }
        Ok(entries)
    }

    /// The names in a block. Blocks of an index look like blocks without names.
    fn block_entries(
        &self,
        number: u32,
        block: &[u8],
        entries: &mut Vec<Entry>,
    ) -> Result<(), ReadError> {
        let broken = || damaged(number, "an entry");
        let mut rest = block;
        while !rest.is_empty() {
            let head = rest.get(..8).ok_or_else(broken)?;
            // 64 KiB blocks have another form of this, ours are smaller.
            let len = usize::from(u16_at(head, 4));
            if len < 8 || !len.is_multiple_of(4) || len > rest.len() {
                return Err(broken());
            }
            let inode = u32_at(head, 0);
            if inode != 0 {
                let name = rest.get(8..8 + usize::from(head[6])).ok_or_else(broken)?;
                if 8 + name.len() > len || name.is_empty() {
                    return Err(broken());
                }
                if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
                    return Err(damaged(number, "a name"));
                }
                if name != b"." && name != b".." {
                    entries.push((name.into(), inode));
                    let count = self.names.saturating_add(entries.len() as u32);
                    within("names", count, self.limits.names)?;
                }
            }
            rest = &rest[len..];
        }
        Ok(())
    }
}

fn within(what: &'static str, count: u32, limit: u32) -> Result<(), ReadError> {
    if count > limit {
        return Err(ReadError::TooMuch { what, limit });
    }
    Ok(())
}

pub(crate) fn damaged(inode: u32, what: &'static str) -> ReadError {
    ReadError::Damaged { inode, what }
}

/// The numbers of a device in an inode: in the old form if it is not 0, else in the new one.
pub(crate) fn device(block: &[u8]) -> Device {
    let (old, new) = (u32_at(block, 0), u32_at(block, 4));
    if old != 0 {
        Device {
            major: old >> 8 & 0xff,
            minor: old & 0xff,
        }
    } else {
        Device {
            major: new >> 8 & 0xfff,
            minor: new & 0xff | new >> 12 & 0xf_ff00,
        }
    }
}
