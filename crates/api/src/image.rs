//! Bodies of `/images`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An image as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Its id.
    pub id: String,
    /// Id of its owner; empty for an image of the host, which all users see.
    pub user_id: String,
    /// Its name.
    pub name: String,
    /// Where it came from, such as `recipe:base`.
    pub source: String,
    /// Size of its file system in MiB.
    pub size_mb: u64,
    /// When it was made, RFC 3339.
    pub created_at: String,
}
