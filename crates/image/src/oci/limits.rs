//! How much of what strangers send is taken.

/// Largest manifest or index read, in bytes: what registries take themselves (Docker's
/// `distribution` and the OCI distribution specification name 4 MiB).
pub const MAX_MANIFEST: u64 = 4 << 20;
/// Largest config read, in bytes. Those of build packs, which keep their books in labels, come to
/// some hundred KiB.
pub const MAX_CONFIG: u64 = 2 << 20;
/// Most entries of an index that are looked at: Docker's official images have some twenty.
pub const MAX_INDEX_ENTRIES: usize = 1_000;
/// How deep an index may lie in another.
pub const MAX_INDEX_DEPTH: usize = 3;
/// Most layers of an image. Docker itself stops at 127.
pub const MAX_LAYERS: usize = 500;
/// Largest reply of a token server, in bytes.
pub const MAX_TOKEN_REPLY: u64 = 256 << 10;
/// Longest part of a registry's explanation of an error that is read, in bytes.
pub const MAX_ERROR_REPLY: u64 = 16 << 10;
/// Longest part of it that is shown, in characters.
pub const MAX_ERROR_SHOWN: usize = 200;
