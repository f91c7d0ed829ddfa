//! Inodes as they are in the tables.

use crate::crc;
use crate::le::{put_u16, put_u32};
use crate::tree::{Content, Device, Metadata, Time};
use crate::xattr;

/// Bytes of an inode.
pub(crate) const LEN: usize = 256;
/// The root directory.
pub(crate) const ROOT: u32 = 2;
/// Bytes of the fields behind the first 128: all that the kernel has by now.
const EXTRA: u16 = 32;
/// The longest target of a link that is in the inode itself.
pub(crate) const FAST_SYMLINK: usize = 59;

/// The file has a tree of extents.
pub(crate) const EXTENTS: u32 = 0x8_0000;
/// The directory has an index.
pub(crate) const INDEX: u32 = 0x1000;
/// The content is in the inode.
pub(crate) const INLINE_DATA: u32 = 0x1000_0000;

/// An inode's fields, but for those of the file's [`Metadata`].
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) links: u32,
    pub(crate) size: u64,
    /// Blocks of the file, of its extents and of its attributes.
    pub(crate) blocks: u64,
    pub(crate) flags: u32,
    /// Extents, a short target, or the numbers of a device.
    pub(crate) block: [u8; 60],
    /// The block of its attributes, or 0.
    pub(crate) xattr_block: u64,
    pub(crate) xattrs: Option<Box<[u8; xattr::IN_INODE]>>,
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Fifo,
    Character,
    Directory,
    Block,
    File,
    Symlink,
    Socket,
}

impl Kind {
    pub(crate) fn of(content: &Content) -> Self {
        match content {
            Content::Directory(_) => Self::Directory,
            Content::File(_) => Self::File,
            Content::Symlink(_) => Self::Symlink,
            Content::Character(_) => Self::Character,
            Content::Block(_) => Self::Block,
            Content::Fifo => Self::Fifo,
            Content::Socket => Self::Socket,
        }
    }

    /// The kind that the mode of an inode names.
    pub(crate) fn of_mode(mode: u16) -> Option<Self> {
        Some(match mode >> 12 {
            0o01 => Self::Fifo,
            0o02 => Self::Character,
            0o04 => Self::Directory,
            0o06 => Self::Block,
            0o10 => Self::File,
            0o12 => Self::Symlink,
            0o14 => Self::Socket,
            _ => return None,
        })
    }

    fn mode(self) -> u16 {
        let kind = match self {
            Self::Fifo => 0o01,
            Self::Character => 0o02,
            Self::Directory => 0o04,
            Self::Block => 0o06,
            Self::File => 0o10,
            Self::Symlink => 0o12,
            Self::Socket => 0o14,
        };
        kind << 12
    }

    /// What entries of directories call it.
    pub(crate) fn in_directory(self) -> u8 {
        match self {
            Self::File => 1,
            Self::Directory => 2,
            Self::Character => 3,
            Self::Block => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }
}

/// The numbers of a device in an inode: the old form where they fit into it.
pub(crate) fn device(device: Device) -> [u8; 60] {
    let Device { major, minor } = device;
    let mut block = [0; 60];
    if major < 256 && minor < 256 {
        put_u32(&mut block, 0, major << 8 | minor);
    } else {
        put_u32(
            &mut block,
            4,
            minor & 0xff | major << 8 | (minor & !0xff) << 12,
        );
    }
    block
}

/// A time as two numbers: 32 bits of seconds; two more above them, and nanoseconds.
fn time(time: Time) -> (u32, u32) {
    // From 1901 to 2446.
    let seconds = time.seconds.clamp(-(1 << 31), (3 << 32) + (1 << 31) - 1);
    let low = seconds as u32;
    let above = (seconds - i64::from(low.cast_signed())) >> 32;
    (low, above as u32 & 3 | time.nanos << 2)
}

/// A directory with more entries than its inode can count says 1.
fn link_count(links: u32) -> u16 {
    if links < 65000 { links as u16 } else { 1 }
}

impl Record {
    /// The inode's bytes.
    pub(crate) fn encode(&self, meta: &Metadata, number: u32, seed: u32) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        put_u16(&mut bytes, 0x0, self.kind.mode() | meta.mode & 0o7777);
        put_u16(&mut bytes, 0x2, meta.uid as u16);
        put_u16(&mut bytes, 0x78, (meta.uid >> 16) as u16);
        put_u16(&mut bytes, 0x18, meta.gid as u16);
        put_u16(&mut bytes, 0x7a, (meta.gid >> 16) as u16);
        put_u32(&mut bytes, 0x4, self.size as u32);
        put_u32(&mut bytes, 0x6c, (self.size >> 32) as u32);
        let (low, extra) = time(meta.mtime);
        // Of access, change, modification and creation; an archive has one for all.
        for (at, extra_at) in [(0x8, 0x8c), (0xc, 0x84), (0x10, 0x88), (0x90, 0x94)] {
            put_u32(&mut bytes, at, low);
            put_u32(&mut bytes, extra_at, extra);
        }
        put_u16(&mut bytes, 0x1a, link_count(self.links));
        // In sectors of 512 bytes.
        let sectors = self.blocks * 8;
        put_u32(&mut bytes, 0x1c, sectors as u32);
        put_u16(&mut bytes, 0x74, (sectors >> 32) as u16);
        put_u32(&mut bytes, 0x20, self.flags);
        bytes[0x28..0x64].copy_from_slice(&self.block);
        put_u32(&mut bytes, 0x68, self.xattr_block as u32);
        put_u16(&mut bytes, 0x76, (self.xattr_block >> 32) as u16);
        put_u16(&mut bytes, 0x80, EXTRA);
        if let Some(xattrs) = &self.xattrs {
            bytes[LEN - xattr::IN_INODE..].copy_from_slice(&**xattrs);
        }
        let sum = sum(&bytes, number, seed);
        put_u16(&mut bytes, 0x7c, sum as u16);
        put_u16(&mut bytes, 0x82, (sum >> 16) as u16);
        bytes
    }
}

/// The sum of an inode, whatever is in the places for it.
pub(crate) fn sum(bytes: &[u8; LEN], number: u32, seed: u32) -> u32 {
    let mut bytes = *bytes;
    put_u16(&mut bytes, 0x7c, 0);
    put_u16(&mut bytes, 0x82, 0);
    let generation = crate::le::u32_at(&bytes, 0x64);
    crc::update(crc::of_inode(seed, number, generation), &bytes)
}

#[cfg(test)]
mod test {
    use super::{device, time};
    use crate::tree::{Device, Time};

    #[test]
    fn times_reach_from_1901_to_2446() {
        let at = |seconds| time(Time { seconds, nanos: 1 });
        assert_eq!(at(-1), (0xffff_ffff, 4));
        assert_eq!(at(0x8000_0000), (0x8000_0000, 5));
        assert_eq!(at(1 << 32), (0, 5));
        assert_eq!(at(i64::MIN), (0x8000_0000, 4));
        assert_eq!(at(i64::MAX), (0x7fff_ffff, 7));
    }

    #[test]
    fn numbers_of_devices_have_two_forms() {
        let of = |major, minor| device(Device { major, minor });
        assert_eq!(of(1, 3)[..8], [3, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(of(259, 0x12345)[..8], [0, 0, 0, 0, 0x45, 0x03, 0x31, 0x12]);
    }
}
