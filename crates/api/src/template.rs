//! Bodies of `/machine-templates` and of `POST /images/{name}/warm`.
//!
//! The original's `/templates` are something else: descriptions of sandboxes, of its days on
//! Docker. So these have a path of their own.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /images/{name}/warm`: the size of the machines to be made ready for. Everything may be
/// left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WarmImage {
    /// vCPUs, as of `POST /sandboxes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Memory in MiB; 0 and missing mean the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
    /// Disk in MiB; 0 and missing mean the image's own size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_size_mb: Option<u64>,
}

/// A template as shown: a machine that has booted once, from which creates are forked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Template {
    /// Its id: a digest of all it was made of.
    pub id: String,
    /// The image it booted from, by name.
    pub image: String,
    /// vCPUs.
    pub cpus: f64,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Disk in MiB.
    pub disk_size_mb: u64,
    /// The guest kit it booted with.
    pub kit: String,
    /// The engine it runs on: `qemu`.
    pub engine: String,
    /// The accelerator under it: `kvm` or `tcg`.
    pub accelerator: String,
    /// How many machines were made from it.
    pub uses: u64,
    /// When one was last made from it, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// What it takes on disk that nothing else holds, in bytes: what would be free again without
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_own_bytes: Option<u64>,
    /// What it takes on disk that others hold too, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_shared_bytes: Option<u64>,
    /// How many started clones of it wait to be used.
    pub pool: u64,
}
