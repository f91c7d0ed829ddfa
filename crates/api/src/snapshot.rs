//! Bodies of `/snapshots` and of `POST /sandboxes/{id}/checkpoint`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /sandboxes/{id}/checkpoint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSnapshot {
    /// Its name.
    pub name: String,
}

/// `POST /snapshots/{name}/resume`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResumeSnapshot {
    /// Name of the new sandbox; one is made up if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A checkpoint as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// Id of the user it belongs to.
    pub user_id: String,
    /// Its name.
    pub name: String,
    /// Name of the sandbox it was taken of, at that time.
    pub source_sandbox: String,
    /// Memory of the machine it holds, in MiB.
    pub size_mb: u64,
    /// What its files took on disk when it was taken, in bytes, shared or not.
    #[serde(default)]
    pub disk_bytes: u64,
    /// What it takes on disk that nothing else holds, in bytes: what would be free again without
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_own_bytes: Option<u64>,
    /// What it takes on disk that others hold too, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_shared_bytes: Option<u64>,
    /// How long the source stood still while it was taken, in milliseconds.
    #[serde(default)]
    pub stall_ms: u64,
    /// bhatti took it by itself, before a rollback.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub automatic: bool,
    /// When it was taken, RFC 3339.
    pub created_at: String,
}
