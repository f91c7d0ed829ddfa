//! Where layers come from.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::layer::digest::Sha256Digest;

/// A layer as an image names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSpec {
    /// The digest of the blob.
    pub digest: Sha256Digest,
    /// The size of the blob, in bytes.
    pub size: u64,
    /// The digest of the uncompressed archive.
    pub diff_id: Sha256Digest,
}

/// A place that has blobs.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// Names the place. Partial blobs are gone on with only from where they came, and only those
    /// who want a layer from one place share its fetching.
    fn origin(&self) -> String;

    /// Opens a blob, at `offset` bytes if the place can do that, else at its beginning.
    async fn open(&self, spec: &LayerSpec, offset: u64) -> Result<BlobStream, SourceError>;
}

/// The bytes of a blob.
pub struct BlobStream {
    /// At which byte they begin.
    pub offset: u64,
    /// The bytes. An error ends them.
    pub bytes: BoxStream<'static, Result<Bytes, SourceError>>,
}

impl fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStream")
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

/// Whether another try may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// No.
    Never,
    /// Yes, as soon as it seems right.
    Soon,
    /// Yes, but not before.
    After(Duration),
}

/// A place did not give a blob.
#[derive(Debug)]
pub struct SourceError {
    /// Whether another try may help.
    pub retry: Retry,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}

// It stands for the error in it, which is why it has no words of its own.
impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}
