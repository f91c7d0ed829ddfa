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
    /// Where machines' files are kept; older daemons don't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Whether machines have networks: `on`, or `off` and why; older daemons don't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

/// Where machines' files are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Storage {
    /// How they are copied: `reflink`, where the data directory's file system shares blocks;
    /// `pool`, where bhatti made one that does; `copy`, where neither was possible.
    pub kind: String,
    /// Room for more, in bytes; what is left to the host is not counted.
    pub free_bytes: u64,
    /// All room, in bytes.
    pub size_bytes: u64,
}
