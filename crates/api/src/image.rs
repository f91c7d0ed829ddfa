//! Bodies of `/images` and of `POST /sandboxes/{id}/save-image`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Media type of an image that is streamed: an uncompressed tar.
pub const TAR: &str = "application/x-tar";
/// Longest archive that is taken, in bytes; the original's limit.
pub const MAX_ARCHIVE: u64 = 10 << 30;

/// An image as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Id of its owner; empty for an image of the host, which all users see.
    pub user_id: String,
    /// Name of its owner; empty for an image of the host.
    #[serde(default)]
    pub owner: String,
    /// Why the caller sees it: `own`, `shared` or `host`.
    #[serde(default)]
    pub scope: String,
    /// Its name means another image to the caller, who gets at this one by its id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// Names of the users it is shared with, if it is the caller's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<String>,
    /// Its name.
    pub name: String,
    /// Where it came from, such as `recipe:base` or `oci:REFERENCE@DIGEST`.
    pub source: String,
    /// Digest of what it was made from.
    #[serde(default)]
    pub digest: String,
    /// Size of its file system in MiB.
    pub size_mb: u64,
    /// What it takes on disk that nothing else holds, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_own_bytes: Option<u64>,
    /// What it takes on disk that others hold too, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_shared_bytes: Option<u64>,
    /// User that commands run as in machines of it; root if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_as: Option<String>,
    /// Directory that commands run in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Environment of commands.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// What opens a registry. It is kept no longer than the work it is for.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum RegistryAuth {
    /// A name, and its password or access token.
    Password {
        /// The name.
        user: String,
        /// The password.
        secret: String,
    },
    /// A token that is exchanged for others, as `docker login` keeps it for some registries.
    Identity {
        /// The token.
        secret: String,
    },
    /// A token that is sent as it is.
    Bearer {
        /// The token.
        secret: String,
    },
}

// Written by hand to keep secrets out of logs.
impl std::fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegistryAuth(…)")
    }
}

/// Credentials as they are given: by their kind, or `user:password` as the original takes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum GivenAuth {
    /// By their kind.
    Kind(RegistryAuth),
    /// `user:password`.
    Joined(String),
}

/// `POST /images/pull`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PullImage {
    /// What to pull, such as `alpine:3.20` or `ghcr.io/owner/app@sha256:…`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Name of the image; the last part of the reference and its tag if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Credentials; without them the daemon asks as nobody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<GivenAuth>,
    /// Platform, such as `linux/arm64`; the host's if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Speak plain HTTP to the registry.
    pub insecure: bool,
    /// Make it an image of the host's, which all users see; for the administrator.
    pub host: bool,
}

/// Answer of `POST /images/pull` and of other work that takes long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskStarted {
    /// Id of the task; missing if there was nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// `running`, or `exists` if the image is there already and the registry has no newer one.
    pub status: String,
    /// The image that is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
}

/// `POST /images/{name}/push`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PushImage {
    /// Where to, such as `ghcr.io/owner/app:1`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<GivenAuth>,
    /// Speak plain HTTP to the registry.
    pub insecure: bool,
}

/// `POST /sandboxes/{id}/save-image`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SaveImage {
    /// Name of the image.
    pub name: String,
    /// Make it an image of the host's, which all users see; for the administrator.
    pub host: bool,
}

/// `POST /images/{name}/share` and `POST /images/{name}/unshare`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShareImage {
    /// Names of the users.
    pub users: Vec<String>,
}

/// Answer of `DELETE /images/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedImage {
    /// `deleted`.
    pub status: String,
    /// Its name.
    pub name: String,
    /// How many templates went with it.
    pub templates_deleted: u64,
    /// The caller's sandboxes that were made from an image of this name: they go on.
    pub sandboxes: Vec<String>,
}

/// `POST /gc`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CollectGarbage {
    /// Only say what would be deleted.
    pub dry_run: bool,
}

/// Answer of `POST /gc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CollectedGarbage {
    /// Nothing was deleted.
    pub dry_run: bool,
    /// What was, or would be, deleted.
    pub items: Vec<GarbageItem>,
    /// What that frees, in bytes.
    pub bytes: u64,
}

/// Something that nothing needs any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GarbageItem {
    /// What it is: `layer`, `template`, `image` or `leftover`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What it takes on disk that nothing else holds, in bytes.
    pub bytes: u64,
}
