//! Writes and reads ext4 file systems without mounting them.
//!
//! `mke2fs` makes the empty file system, with its journal and room to grow; this crate puts a tree
//! of files into it, and reads one back that a guest has written. Nothing of a tree ever gets a
//! path on the host.
//!
//! | to do this | open |
//! |---|---|
//! | describe files | [`tree`] |
//! | know how large a file system has to be | [`estimate`](mod@estimate) |
//! | put a tree into an empty file system | [`fill`](mod@fill) |
//! | read the tree of a file system | [`read`](mod@read) |
//! | say where a file system is | [`disk`] |
//!
//! What is on the disk is described in the kernel's `Documentation/filesystems/ext4`; offsets and
//! flags in this crate are from there.
#![forbid(unsafe_code)]

mod bitmap;
mod crc;
mod directory;
pub mod disk;
pub mod estimate;
mod extents;
pub mod fill;
pub mod fuzz;
mod groups;
mod hash;
mod inode;
mod le;
pub mod read;
mod read_inode;
pub mod superblock;
pub mod tree;
mod xattr;
