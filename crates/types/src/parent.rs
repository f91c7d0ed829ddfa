//! What a sandbox descends from.

use serde::{Deserialize, Serialize};

use crate::id::{SandboxId, SnapshotId};

/// What a sandbox was made from, besides its image. What it names may be gone since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parent {
    /// It was resumed from this checkpoint.
    Snapshot(SnapshotId),
    /// It was forked from this sandbox.
    Sandbox(SandboxId),
}
