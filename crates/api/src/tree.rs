//! Bodies of `/tree`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One line of the tree of who descends from whom: a sandbox, a checkpoint, or one that is gone
/// and has descendants left. Each line comes directly before those of its descendants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TreeNode {
    /// `sandbox` or `snapshot`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Id of the one it stands under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// How many stand above it.
    pub depth: u32,
    /// It is gone; nothing else is known of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Of a sandbox: as in `GET /sandboxes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Of a sandbox: as in `GET /sandboxes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thermal: Option<String>,
    /// Memory of the machine, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
    /// Of a checkpoint: as in `GET /snapshots`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_own_bytes: Option<u64>,
    /// Of a checkpoint: as in `GET /snapshots`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_shared_bytes: Option<u64>,
    /// Of a checkpoint: bhatti took it by itself, before a rollback.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
}
