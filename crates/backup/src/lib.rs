//! Backups of disks: to a directory or to S3-compatible storage.
//!
//! A disk is cut into chunks ([`format`]). Each is stored once under its digest, so that a backup
//! uploads what the ones before it did not have ([`save`]). A backup is there once its summary is;
//! what lies around without one is deleted by the next clean-up ([`keep`]). Whatever comes back is
//! checked before it is used ([`restore`]).
//!
//! ```text
//! <prefix>/chunks/<BLAKE3 of the chunk>   the chunk, compressed
//!          backups/<id>.map               which chunk is where, compressed
//!          backups/<id>.json              the summary, written last
//! ```

pub mod directory;
pub mod error;
pub mod format;
pub mod keep;
pub mod restore;
pub mod s3;
pub mod save;
pub mod target;
