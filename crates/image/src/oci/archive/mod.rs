//! Images as single files: what `docker save` writes, OCI archives, plain root file systems.
//!
//! | to do this | open |
//! |---|---|
//! | take an image out of a stream of any of these | [`import`](mod@import) |
//! | write an OCI archive | [`export`](mod@export) |
//! | know what can go wrong | [`error`] |
//!
//! An archive is read like a layer: into the store as one file, and then by an index of it, so
//! that nothing in it gets a path on the host.

mod docker;
pub mod error;
pub mod export;
pub mod import;
mod layout;
mod spool;
