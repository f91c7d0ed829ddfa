//! A layer that is on this host.

use std::path::PathBuf;

use crate::layer::digest::Sha256Digest;

/// A layer: the blob as it was received, and the index of what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The digest of the blob, by which registries name it.
    pub digest: Sha256Digest,
    /// The digest of the uncompressed archive, by which an image's configuration names it.
    pub diff_id: Sha256Digest,
    /// The blob.
    pub blob: PathBuf,
    /// The [`crate::layer::index::LayerIndex`] as a file.
    pub index: PathBuf,
}
