//! What the daemon remembers: SQLite in one file, `state.db` in the data directory.
//!
//! Entry is [`store::Store::open`]. All methods are synchronous and short; those that write
//! return once the change is on disk. Methods are named noun first and live in one file for each
//! table. Several changes become one with [`store::Store::write`].

pub mod attachment;
pub mod error;
pub mod image_share;
pub mod journal;
pub mod sandbox;
pub mod snapshot;
pub mod store;
pub mod user;
pub mod volume;

mod column;
mod migrate;
