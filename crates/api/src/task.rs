//! Bodies of `/tasks`: work that takes longer than a request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::image::Image;

/// A task as shown. It is known for a day after its end, if the daemon lives as long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// What it does, such as `image.pull`.
    pub kind: String,
    /// What it does it with, such as the name of an image.
    pub subject: String,
    /// `running`, `completed`, `failed` or `cancelled`.
    pub status: String,
    /// How far it is, or was when it ended.
    pub progress: TaskProgress,
    /// What it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Image>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// When it was begun, RFC 3339.
    pub created_at: String,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// How far a task is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskProgress {
    /// What it does now, such as `fetching`.
    pub phase: String,
    /// Bytes done in this phase.
    pub done_bytes: u64,
    /// Bytes in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Its parts, such as the layers of an image.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<TaskPart>,
}

/// A part of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskPart {
    /// What it is, such as the digest of a layer.
    pub name: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Whether it is complete.
    pub complete: bool,
}
