//! Writes and reads ext4 file systems without mounting them.
//!
//! `mke2fs` makes the empty file system, with its journal and room to grow; this crate puts a tree
//! of files into it, and reads one back that a guest has written. Nothing of a tree ever gets a
//! path on the host.
//!
//! | to do this | open |
//! |---|---|
//! | describe files | [`tree`] |
#![forbid(unsafe_code)]

pub mod tree;
