//! Bodies of `/health` and `/version`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /health`, which needs no token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    pub status: String,
    /// How long the daemon has been up, such as `1h 2m 3s`.
    pub uptime: String,
}

/// `GET /version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Version of the daemon.
    pub version: String,
    /// Generation of this contract.
    pub api: String,
    /// The guest kit that new machines get, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kit: Option<String>,
}
