//! An inode that was read, and where its content is.

use crate::disk::ReadAt;
use crate::extents;
use crate::inode::{self, EXTENTS, FAST_SYMLINK, INLINE_DATA, Kind};
use crate::le::{split_u32, u16_at, u32_at};
use crate::read::{ReadError, Reader, damaged, device};
use crate::superblock::{BLOCK, Sums};
use crate::tree::{Device, Time, Xattr};
use crate::xattr;

/// The deepest tree of extents that the kernel makes.
const DEPTH_MAX: u16 = 5;
/// What a file has at most with blocks of 4 KiB.
const SIZE_MAX: u64 = (u32::MAX as u64) << 12;
/// Longer extents are shorter ones that were not written: they read as zeros.
const WRITTEN_MAX: u16 = 32768;

/// An inode's bytes, with their sum checked.
pub(crate) struct RawInode {
    pub(crate) number: u32,
    place: u64,
    bytes: [u8; inode::LEN],
}

impl RawInode {
    pub(crate) fn read(
        reader: &Reader<'_, impl ReadAt + ?Sized>,
        number: u32,
    ) -> Result<Self, ReadError> {
        let place = reader.place(number).ok_or(damaged(number, "the number"))?;
        let mut bytes = [0; inode::LEN];
        let read = reader.disk.read_at(&mut bytes, place);
        read.map_err(ReadError::Disk)?;
        let found = split_u32(&bytes, 0x7c, 0x82);
        let sum = inode::sum(&bytes, number, reader.superblock.seed);
        if reader.limits.sums == Sums::Checked && found != sum {
            return Err(damaged(number, "the checksum"));
        }
        let raw = Self {
            number,
            place,
            bytes,
        };
        if raw.size() > SIZE_MAX {
            return Err(damaged(number, "the size"));
        }
        Ok(raw)
    }

    pub(crate) fn mode(&self) -> u16 {
        u16_at(&self.bytes, 0)
    }

    pub(crate) fn kind(&self) -> Result<Kind, ReadError> {
        Kind::of_mode(self.mode()).ok_or(damaged(self.number, "the kind"))
    }

    pub(crate) fn uid(&self) -> u32 {
        split_u32(&self.bytes, 0x2, 0x78)
    }

    pub(crate) fn gid(&self) -> u32 {
        split_u32(&self.bytes, 0x18, 0x7a)
    }

    pub(crate) fn size(&self) -> u64 {
        u64::from(u32_at(&self.bytes, 0x4)) | u64::from(u32_at(&self.bytes, 0x6c)) << 32
    }

    pub(crate) fn mtime(&self) -> Time {
        let extra = if self.extra() >= 12 {
            u32_at(&self.bytes, 0x88)
        } else {
            0
        };
        let low = i64::from(u32_at(&self.bytes, 0x10).cast_signed());
        let nanos = extra >> 2;
        Time {
            seconds: low + (i64::from(extra & 3) << 32),
            nanos: if nanos < 1_000_000_000 { nanos } else { 0 },
        }
    }

    fn extra(&self) -> usize {
        usize::from(u16_at(&self.bytes, 0x80))
    }

    fn flags(&self) -> u32 {
        u32_at(&self.bytes, 0x20)
    }

    fn block(&self) -> &[u8] {
        &self.bytes[0x28..0x64]
    }

    pub(crate) fn device(&self) -> Device {
        device(self.block())
    }

    pub(crate) fn is_inline(&self) -> bool {
        self.flags() & INLINE_DATA != 0
    }

    /// A target that is in the inode itself.
    pub(crate) fn fast_target(&self) -> Option<&[u8]> {
        let len = self.size() as usize;
        let fast = self.flags() & (EXTENTS | INLINE_DATA) == 0;
        (fast && len <= FAST_SYMLINK).then(|| &self.block()[..len])
    }

    /// The attributes behind the fields.
    fn behind(&self) -> Option<&[u8]> {
        let start = 128 + self.extra();
        (start.is_multiple_of(4)).then(|| self.bytes.get(start..))?
    }

    /// Content that is in the place of the extents.
    pub(crate) fn inline_block(&self) -> &[u8] {
        self.block()
    }

    /// Content that is among the attributes.
    pub(crate) fn inline_rest(&self) -> Option<&[u8]> {
        let behind = self.behind()?;
        let (at, len) = xattr::inline_data(behind)?;
        behind.get(at..at + len).filter(|rest| !rest.is_empty())
    }

    pub(crate) fn xattrs(
        &self,
        reader: &Reader<'_, impl ReadAt + ?Sized>,
    ) -> Result<Vec<Xattr>, ReadError> {
        let broken = || damaged(self.number, "the extended attributes");
        let behind = self.behind().ok_or_else(broken)?;
        let mut xattrs = xattr::read_in_inode(behind).ok_or_else(broken)?;
        let high = u64::from(u16_at(&self.bytes, 0x76)) << 32;
        let place = high | u64::from(u32_at(&self.bytes, 0x68));
        if place != 0 {
            if place >= reader.superblock.blocks {
                return Err(broken());
            }
            let mut block = vec![0; BLOCK];
            let read = reader.disk.read_at(&mut block, place * BLOCK as u64);
            read.map_err(ReadError::Disk)?;
            let sums = reader.limits.sums;
            let found = xattr::read_block(&block, place, reader.superblock.seed, sums);
            xattrs.extend(found.ok_or_else(broken)?);
        }
        xattrs.sort();
        if xattrs.windows(2).any(|pair| pair[0].name == pair[1].name) {
            return Err(broken());
        }
        Ok(xattrs)
    }

    /// What of the content is not a hole, in order: where it begins in the file, how long it is,
    /// and where it begins on the disk.
    pub(crate) fn ranges(
        &self,
        reader: &Reader<'_, impl ReadAt + ?Sized>,
    ) -> Result<Vec<(u64, u64, u64)>, ReadError> {
        if self.is_inline() {
            return Ok(self.inline_ranges());
        }
        if self.size() == 0 {
            return Ok(Vec::new());
        }
        if self.flags() & EXTENTS == 0 {
            return Err(ReadError::Unsupported {
                inode: self.number,
                what: "files without extents",
            });
        }
        let mut walk = Walk {
            reader,
            number: self.number,
            ranges: Vec::new(),
            end: 0,
            nodes: 0,
        };
        walk.node(self.block(), None)?;
        Ok(walk.ranges)
    }

    fn inline_ranges(&self) -> Vec<(u64, u64, u64)> {
        let in_block = 60.min(self.size());
        let mut ranges = vec![(0, in_block, self.place + 0x28)];
        let behind = 128 + self.extra();
        let rest = self.behind().and_then(xattr::inline_data);
        if let Some((at, len)) = rest.filter(|(_, len)| *len > 0) {
            ranges.push((60, len as u64, self.place + (behind + at) as u64));
        }
        ranges.retain(|(_, len, _)| *len > 0);
        ranges
    }
}

/// A walk through a tree of extents.
struct Walk<'a, D: ?Sized> {
    reader: &'a Reader<'a, D>,
    number: u32,
    ranges: Vec<(u64, u64, u64)>,
    /// The first block of the file that no extent has been seen of.
    end: u64,
    nodes: u32,
}

impl<D: ReadAt + ?Sized> Walk<'_, D> {
    fn broken(&self) -> ReadError {
        damaged(self.number, "an extent")
    }

    /// Goes through a node, which is as deep as its parent says. Every node is a level lower than
    /// the one above it, so this comes to an end.
    fn node(&mut self, bytes: &[u8], expected: Option<u16>) -> Result<(), ReadError> {
        let count = usize::from(u16_at(bytes, 2));
        let depth = u16_at(bytes, 6);
        let fits = 12 + 12 * count <= bytes.len();
        let as_expected = expected.is_none_or(|expected| expected == depth);
        if u16_at(bytes, 0) != extents::MAGIC || !fits || depth > DEPTH_MAX || !as_expected {
            return Err(self.broken());
        }
        for entry in bytes[12..12 + 12 * count].chunks_exact(12) {
            if depth == 0 {
                self.extent(entry)?;
                continue;
            }
            let place = u64::from(u32_at(entry, 4)) | u64::from(u16_at(entry, 8)) << 32;
            // More nodes than that would hold more pieces than there may be.
            self.nodes += 1;
            if place == 0
                || place >= self.reader.superblock.blocks
                || self.nodes > self.reader.limits.pieces
            {
                return Err(self.broken());
            }
            let mut block = vec![0; BLOCK];
            let read = self.reader.disk.read_at(&mut block, place * BLOCK as u64);
            read.map_err(ReadError::Disk)?;
            self.node(&block, Some(depth - 1))?;
        }
        Ok(())
    }

    fn extent(&mut self, entry: &[u8]) -> Result<(), ReadError> {
        let (at, raw_len) = (u64::from(u32_at(entry, 0)), u16_at(entry, 4));
        let start = u64::from(u32_at(entry, 8)) | u64::from(u16_at(entry, 6)) << 32;
        let written = raw_len <= WRITTEN_MAX;
        let len = u64::from(if written {
            raw_len
        } else {
            raw_len - WRITTEN_MAX
        });
        let within = start > 0 && start + len <= self.reader.superblock.blocks;
        if len == 0 || at < self.end || !within {
            return Err(self.broken());
        }
        self.end = at + len;
        if written {
            if self.ranges.len() >= self.reader.limits.pieces as usize {
                return Err(self.broken());
            }
            let block = BLOCK as u64;
            self.ranges.push((at * block, len * block, start * block));
        }
        Ok(())
    }
}
