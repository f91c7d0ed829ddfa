//! The body of every reply that is not a success.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What went wrong, in words for a user. Never holds host paths, commands or secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// One line, lower case, no full stop.
    pub error: String,
    /// What to do about it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The request's id in the daemon's log, for errors that are the daemon's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
