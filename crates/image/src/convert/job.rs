//! What is said between this process and the worker, each message a line of JSON.
//!
//! ```text
//! inspect   → Inspect, with the blob and the file for the index     ← Progress… Inspected
//! convert   → Convert, with blob and index of each layer, the disk  ← Size
//!           → Go, when the file system is made                      ← Progress… Written
//! ```
//! Before all else the worker says `Confined`, and `Failed` at any time.

use bhatti_host::confine::Bounds;
use serde::{Deserialize, Serialize};

use crate::layer::digest::Sha256Digest;
use crate::layer::limits::Limits;

/// What the worker is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) bounds: Bounds,
    pub(super) limits: Limits,
    pub(super) work: Work,
}

/// Kinds of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Work {
    Inspect,
    Convert { threads: usize },
}

/// The only message after the job.
pub(super) const GO: &str = "go";

/// What the worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Reply {
    /// What of its confinement could not be had, for the log.
    Confined { missing: Vec<String> },
    /// The file system that is needed.
    Size {
        bytes: u64,
        inodes: u64,
        journal_mib: u64,
    },
    /// How much of the content has been read or written.
    Progress { done: u64, total: u64 },
    /// The index is written.
    Inspected {
        diff_id: Sha256Digest,
        bytes: u64,
        entries: u64,
    },
    /// The disk is written and synced.
    Written { files: u64 },
    /// The work cannot be done.
    Failed { fault: Fault, reason: String },
}

/// Whose fault it is that work cannot be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fault {
    /// The layers'.
    Layers,
    /// This host's: its disk, for example.
    Host,
    /// There is no room on this host's disk.
    NoRoom,
}
