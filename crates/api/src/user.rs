//! Bodies of `/users`, for the host's administrator (the unix socket) only.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /users`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateUser {
    /// Its name.
    pub name: String,
    /// Most sandboxes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sandboxes: Option<u32>,
    /// Most vCPUs of one sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_cpus_per_sandbox: Option<u32>,
    /// Most memory of one sandbox, in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_mb_per_sandbox: Option<u32>,
    /// Most checkpoints at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_snapshots: Option<u32>,
    /// Most storage of all volumes together, in MiB; 20480 if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_volume_mb: Option<u32>,
    /// Most images of its own at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_images: Option<u32>,
}

/// A user as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Most sandboxes at once.
    pub max_sandboxes: u32,
    /// Most vCPUs of one sandbox.
    pub max_cpus_per_sandbox: u32,
    /// Most memory of one sandbox, in MiB.
    pub max_memory_mb_per_sandbox: u32,
    /// Most checkpoints at once.
    pub max_snapshots: u32,
    /// Most storage of all volumes together, in MiB.
    #[serde(default)]
    pub max_volume_mb: u32,
    /// Most images of its own at once.
    #[serde(default)]
    pub max_images: u32,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// A new user with its token, which is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedUser {
    /// The user.
    #[serde(flatten)]
    pub user: User,
    /// The token. Only its hash is kept.
    pub api_key: String,
}

/// Answer of `POST /users/{name}/rotate-key`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotatedKey {
    /// The new token, shown this once. Only its hash is kept.
    pub api_key: String,
}
