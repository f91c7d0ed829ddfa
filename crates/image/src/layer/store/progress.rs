//! How far the fetching of layers is.

use crate::layer::digest::Sha256Digest;

/// What is being done with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It waits for its turn, or for another try.
    Waiting,
    /// Its bytes come in.
    Fetching,
    /// It is verified and looked through.
    Checking,
    /// It is there.
    There,
}

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerProgress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Is told how far layers are.
pub trait Progress: Send + Sync {
    /// A layer got further. Called often, so it must be quick; and, for one layer, in order.
    fn layer(&self, digest: &Sha256Digest, progress: LayerProgress);
}

/// Nobody wants to know.
impl Progress for () {
    fn layer(&self, _: &Sha256Digest, _: LayerProgress) {}
}
