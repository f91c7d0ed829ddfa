//! The superblock, and which file systems this crate knows.

use std::io;

use crate::crc;
use crate::disk::ReadAt;
use crate::le::{put_split_u64, put_u32, split_u64, u16_at, u32_at};

/// Where the superblock is.
pub(crate) const AT: u64 = 1024;
/// How many bytes it has.
pub(crate) const LEN: usize = 1024;
/// The only block size there is on the hosts and guests we have: that of a page.
pub(crate) const BLOCK: usize = 4096;

const MAGIC: u16 = 0xef53;
/// `s_checksum_type`: CRC-32C.
const CRC32C: u8 = 1;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_EXT_ATTR: u32 = 0x8;
const COMPAT_RESIZE_INODE: u32 = 0x10;
const COMPAT_DIR_INDEX: u32 = 0x20;
const COMPAT_ORPHAN_FILE: u32 = 0x1000;
const INCOMPAT_FILETYPE: u32 = 0x2;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_EXTENTS: u32 = 0x40;
const INCOMPAT_64BIT: u32 = 0x80;
const INCOMPAT_FLEX_BG: u32 = 0x200;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const INCOMPAT_INLINE_DATA: u32 = 0x8000;
const RO_SPARSE_SUPER: u32 = 0x1;
const RO_LARGE_FILE: u32 = 0x2;
const RO_HUGE_FILE: u32 = 0x8;
const RO_DIR_NLINK: u32 = 0x20;
const RO_EXTRA_ISIZE: u32 = 0x40;
const RO_METADATA_CSUM: u32 = 0x400;
const RO_ORPHAN_PRESENT: u32 = 0x10000;

/// Without these the layout is another one.
const INCOMPAT_NEEDED: u32 = INCOMPAT_FILETYPE | INCOMPAT_EXTENTS | INCOMPAT_64BIT;
const RO_NEEDED: u32 = RO_SPARSE_SUPER | RO_EXTRA_ISIZE | RO_METADATA_CSUM;

/// What is wrong with a file system.
#[derive(Debug, thiserror::Error)]
pub enum SuperblockError {
    /// It cannot be read.
    #[error("failed to read the superblock")]
    Read(#[source] io::Error),
    /// It is no ext4, or a damaged one.
    #[error("the superblock is damaged: {what}")]
    Damaged {
        /// What does not fit.
        what: &'static str,
    },
    /// It has features that this crate does not know, or lacks some that it needs.
    #[error("the file system's {set} features {found:#x} are not supported")]
    Features {
        /// Which set.
        set: &'static str,
        /// All features of the set.
        found: u32,
    },
    /// It has other sizes than `mke2fs` gives.
    #[error("the file system has {what} {found}, which is not supported")]
    Size {
        /// Which size.
        what: &'static str,
        /// Its value.
        found: u64,
    },
    /// It was not unmounted; its journal holds what is not in place yet.
    #[error("the file system was not unmounted: its journal has to be replayed first")]
    NeedsRecovery,
}

/// What is to be done with the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is empty and is filled.
    Fill,
    /// A guest has written it.
    Read,
}

/// Whether checksums have to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sums {
    /// They do: whatever is damaged is refused.
    Checked,
    /// They are not looked at, so that tests get behind them.
    Ignored,
}

/// A superblock that was checked.
#[derive(Debug, Clone)]
pub(crate) struct Superblock {
    bytes: Vec<u8>,
    pub(crate) blocks: u64,
    pub(crate) inodes: u32,
    pub(crate) blocks_per_group: u32,
    pub(crate) inodes_per_group: u32,
    /// What all checksums begin with.
    pub(crate) seed: u32,
}

impl Superblock {
    pub(crate) fn read(
        disk: &(impl ReadAt + ?Sized),
        purpose: Purpose,
        sums: Sums,
    ) -> Result<Self, SuperblockError> {
        let mut bytes = vec![0; LEN];
        disk.read_at(&mut bytes, AT)
            .map_err(SuperblockError::Read)?;
        Self::parse(bytes, purpose, sums)
    }

    fn parse(bytes: Vec<u8>, purpose: Purpose, sums: Sums) -> Result<Self, SuperblockError> {
        let damaged = |what| SuperblockError::Damaged { what };
        if u16_at(&bytes, 0x38) != MAGIC {
            return Err(damaged("no magic number"));
        }
        check_features(&bytes, purpose)?;
        let sum = crc::update(u32::MAX, &bytes[..0x3fc]);
        if bytes[0x175] != CRC32C || (sums == Sums::Checked && u32_at(&bytes, 0x3fc) != sum) {
            return Err(damaged("checksum"));
        }
        let size = |what, found: u64, wanted: u64| {
            if found == wanted {
                Ok(())
            } else {
                Err(SuperblockError::Size { what, found })
            }
        };
        size(
            "blocks of 2^(10+n) bytes, n being",
            u32_at(&bytes, 0x18).into(),
            2,
        )?;
        size("inodes of bytes", u16_at(&bytes, 0x58).into(), 256)?;
        size("descriptors of bytes", u16_at(&bytes, 0xfe).into(), 64)?;
        size(
            "blocks in a group",
            u32_at(&bytes, 0x20).into(),
            8 * BLOCK as u64,
        )?;
        size("a first block", u32_at(&bytes, 0x14).into(), 0)?;
        size(
            "clusters of 2^(10+n) bytes, n being",
            u32_at(&bytes, 0x1c).into(),
            2,
        )?;
        size("a first inode", u32_at(&bytes, 0x54).into(), 11)?;
        let seed = if u32_at(&bytes, 0x60) & INCOMPAT_CSUM_SEED != 0 {
            u32_at(&bytes, 0x270)
        } else {
            crc::of_uuid(&bytes[0x68..0x78])
        };
        let found = Self {
            blocks: split_u64(&bytes, 0x4, 0x150),
            inodes: u32_at(&bytes, 0),
            blocks_per_group: u32_at(&bytes, 0x20),
            inodes_per_group: u32_at(&bytes, 0x28),
            seed,
            bytes,
        };
        let groups = found.blocks.div_ceil(u64::from(found.blocks_per_group));
        let per_group = found.inodes_per_group;
        if found.blocks == 0 || found.blocks > u64::from(u32::MAX) {
            return Err(damaged("number of blocks"));
        }
        if per_group == 0
            || per_group > 8 * BLOCK as u32
            || !per_group.is_multiple_of(16)
            || u64::from(per_group) * groups != u64::from(found.inodes)
        {
            return Err(damaged("number of inodes"));
        }
        Ok(found)
    }

    /// How many groups there are.
    pub(crate) fn groups(&self) -> u32 {
        // The number of blocks has been checked to be one of 32 bits.
        self.blocks.div_ceil(u64::from(self.blocks_per_group)) as u32
    }

    /// How many blocks the group descriptors take.
    pub(crate) fn descriptor_blocks(&self) -> u32 {
        (self.groups() * 64).div_ceil(BLOCK as u32)
    }

    /// How many blocks are kept for more group descriptors.
    pub(crate) fn reserved_descriptor_blocks(&self) -> u32 {
        u32::from(u16_at(&self.bytes, 0xce))
    }

    /// What the hashes of names begin with, and whether their bytes have a sign.
    pub(crate) fn hash_seed(&self) -> ([u32; 4], bool) {
        let seed = std::array::from_fn(|at| u32_at(&self.bytes, 0xec + 4 * at));
        // `EXT2_FLAGS_UNSIGNED_HASH`; without it bytes have a sign, as they have on x86.
        (seed, u32_at(&self.bytes, 0x160) & 2 == 0)
    }

    pub(crate) fn free_blocks(&self) -> u64 {
        split_u64(&self.bytes, 0xc, 0x158)
    }

    pub(crate) fn free_inodes(&self) -> u32 {
        u32_at(&self.bytes, 0x10)
    }

    /// The superblock's bytes with other numbers of what is free.
    pub(crate) fn with_free(&self, blocks: u64, inodes: u32) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        put_split_u64(&mut bytes, 0xc, 0x158, blocks);
        put_u32(&mut bytes, 0x10, inodes);
        let sum = crc::update(u32::MAX, &bytes[..0x3fc]);
        put_u32(&mut bytes, 0x3fc, sum);
        bytes
    }
}

fn check_features(bytes: &[u8], purpose: Purpose) -> Result<(), SuperblockError> {
    let (compat, incompat, ro) = (
        u32_at(bytes, 0x5c),
        u32_at(bytes, 0x60),
        u32_at(bytes, 0x64),
    );
    if incompat & INCOMPAT_RECOVER != 0 || ro & RO_ORPHAN_PRESENT != 0 {
        return Err(SuperblockError::NeedsRecovery);
    }
    let known_compat = COMPAT_HAS_JOURNAL
        | COMPAT_EXT_ATTR
        | COMPAT_RESIZE_INODE
        | COMPAT_DIR_INDEX
        | COMPAT_ORPHAN_FILE;
    // What does not concern a reader is called compatible.
    if purpose == Purpose::Fill && compat & !known_compat != 0 {
        return Err(SuperblockError::Features {
            set: "compatible",
            found: compat,
        });
    }
    let inline = match purpose {
        Purpose::Fill => 0,
        Purpose::Read => INCOMPAT_INLINE_DATA,
    };
    let known = INCOMPAT_NEEDED | INCOMPAT_FLEX_BG | INCOMPAT_CSUM_SEED | inline;
    if incompat & INCOMPAT_NEEDED != INCOMPAT_NEEDED || incompat & !known != 0 {
        return Err(SuperblockError::Features {
            set: "incompatible",
            found: incompat,
        });
    }
    let known = RO_NEEDED | RO_LARGE_FILE | RO_HUGE_FILE | RO_DIR_NLINK;
    if ro & RO_NEEDED != RO_NEEDED || ro & !known != 0 {
        return Err(SuperblockError::Features {
            set: "read-only compatible",
            found: ro,
        });
    }
    Ok(())
}
