//! The layers of a data directory, shared between images.
//!
//! ```text
//! <dir>/sha256-<hex>/blob        the layer as it was received
//!                    index       what is in it
//!                    layer.json  what it is
//!      .part-<hex>-<origin>/     one that is being fetched; goes on where it broke off
//!      .tmp-<random>/            half-made; deleted at the start
//! ```
//!
//! | to do this | open |
//! |---|---|
//! | find, list and delete layers; keep them while they are used | [`shelf`] |
//! | fetch a layer once for all who want it | [`fetch`] |
//! | say where layers come from | [`source`] |
//! | show how far it is | [`progress`] |
//! | take layers out of an archive | [`adopt`] |
//! | know what can go wrong | [`error`] |
//!
//! A layer's directory gets its name when all in it is durable and verified: digest and size of
//! the blob, digest of the archive in it. Layers that come from different places are fetched
//! apart from each other until then, so that whoever runs one registry can neither hold up nor
//! spoil what is fetched from another.

pub mod adopt;
pub mod error;
pub mod fetch;
mod flight;
mod partial;
pub mod progress;
mod seal;
pub mod shelf;
pub mod source;

pub use error::FetchError;
pub use shelf::{LayerStore, Lease};
pub use source::LayerSpec;
