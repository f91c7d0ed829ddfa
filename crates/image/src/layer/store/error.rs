//! What can go wrong with fetching and keeping layers.

use std::io;
use std::time::Duration;

use super::source::SourceError;
use crate::layer::digest::Sha256Digest;
use crate::layer::scan::ScanError;

/// A layer could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The place it comes from does not give it.
    #[error("failed to fetch layer {digest}")]
    Source {
        /// The layer.
        digest: Sha256Digest,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// It broke off too often.
    #[error("layer {digest} broke off {attempts} times")]
    Broken {
        /// The layer.
        digest: Sha256Digest,
        /// How often it was tried.
        attempts: u32,
        /// The last reason.
        #[source]
        source: SourceError,
    },
    /// What was sent is something else.
    #[error("what was sent as layer {digest} has another digest; it was deleted")]
    Digest {
        /// The layer.
        digest: Sha256Digest,
    },
    /// More was sent than was announced.
    #[error("layer {digest} has more than the {expected} bytes that it should have")]
    Size {
        /// The layer.
        digest: Sha256Digest,
        /// What it should have.
        expected: u64,
    },
    /// It is larger than is taken.
    #[error("layer {digest} has {size} bytes, and at most {limit} are taken")]
    TooLarge {
        /// The layer.
        digest: Sha256Digest,
        /// Its size.
        size: u64,
        /// How much is taken.
        limit: u64,
    },
    /// What is in it cannot be used.
    #[error("layer {digest} cannot be used")]
    Content {
        /// The layer.
        digest: Sha256Digest,
        /// Why.
        #[source]
        source: ScanError,
    },
    /// The image's config speaks of another archive than the one in the layer.
    #[error("layer {digest} unpacks to {found}, and the image's config says {expected}")]
    DiffId {
        /// The layer.
        digest: Sha256Digest,
        /// What the config says.
        expected: Sha256Digest,
        /// What it is.
        found: Sha256Digest,
    },
    /// The disk is full.
    #[error("no space left on the disk for layer {digest}")]
    NoSpace {
        /// The layer.
        digest: Sha256Digest,
    },
    /// The store could not be read or written.
    #[error("failed to keep layer {digest}")]
    Store {
        /// The layer.
        digest: Sha256Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("layer {digest} took longer than {} h", limit.as_secs() / 3600)]
    Slow {
        /// The layer.
        digest: Sha256Digest,
        /// The time it had.
        limit: Duration,
    },
    /// Nobody wants it any more, or the daemon is going down.
    #[error("the fetching of layer {digest} was given up")]
    GivenUp {
        /// The layer.
        digest: Sha256Digest,
    },
}

impl FetchError {
    /// An error of the store's disk: that it is full is told apart.
    pub(super) fn store(digest: Sha256Digest, source: io::Error) -> Self {
        if is_full(&source) {
            Self::NoSpace { digest }
        } else {
            Self::Store { digest, source }
        }
    }
}

/// Whether a disk, or what one may take of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
