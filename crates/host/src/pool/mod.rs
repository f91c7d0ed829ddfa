//! Where machines' files are kept: on a file system that shares blocks between copies.
//!
//! A data directory whose file system can do that is used as it is. For another one a pool is
//! made: an XFS in a sparse file, mounted in the data directory through a loop device.
//!
//! ```text
//! <data dir>/pool.img        the pool's file; its name appears once the pool has been mounted
//! <data dir>/.new-pool.img   the same while it is being made; safe to delete when it isn't used
//! <data dir>/pool/           where the pool is mounted
//! ```
//!
//! | to do this | open |
//! |---|---|
//! | find or make the storage of a data directory | [`storage`] |
//! | take a pool off the host | [`release`] |
//! | say what is wanted | [`settings`] |
//! | say how large a pool may be | [`size`] |
//! | know what failed | [`error`] |
//!
//! A pool stays mounted when the daemon ends, for its machines go on. A loop device is only ever
//! touched if the file behind it is the pool's, by device and inode, never by its name.

pub mod error;
mod image;
mod loop_device;
mod mounts;
pub mod release;
pub mod settings;
pub mod size;
pub mod storage;
#[cfg(test)]
mod test;
mod xfs;
