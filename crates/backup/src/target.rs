//! Where backups go: objects by name.

use async_trait::async_trait;
use bytes::Bytes;

use crate::error::BackupError;

/// A store of objects. Names are of letters, digits, `.`, `_`, `-`, with `/` between parts.
#[async_trait]
pub trait Target: Send + Sync {
    /// Puts an object in place of what has its name, as a whole or not at all. Durable when this
    /// returns, as far as the storage promises that.
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), BackupError>;

    /// Reads an object of at most `limit` bytes; `None` if it is not there. A larger one is
    /// [`BackupError::Damaged`].
    async fn get(&self, name: &str, limit: usize) -> Result<Option<Bytes>, BackupError>;

    /// The names of all objects that begin with `prefix`, which ends with `/`.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackupError>;

    /// Deletes an object. Success if it is not there.
    async fn delete(&self, name: &str) -> Result<(), BackupError>;
}
