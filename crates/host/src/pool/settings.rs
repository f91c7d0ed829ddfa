//! What is wanted of a data directory's storage, and what came of it.

use serde::{Deserialize, Serialize};

/// Which storage a data directory gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StorageChoice {
    /// The data directory if its file system shares blocks, else a pool if one can be made, else
    /// the data directory all the same.
    #[default]
    Auto,
    /// A pool, or an error that says why there is none.
    Pool,
    /// The data directory, whatever its file system can do. A pool that is there already is used:
    /// what it holds is nowhere else.
    Plain,
}

/// How files of machines are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageKind {
    /// The data directory's file system shares blocks.
    Reflink,
    /// A pool that bhatti made shares blocks.
    Pool,
    /// Blocks are copied.
    Copy,
}

impl StorageKind {
    /// The word as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reflink => "reflink",
            Self::Pool => "pool",
            Self::Copy => "copy",
        }
    }
}

/// What is wanted of a data directory's storage.
#[derive(Debug, Clone, Copy, Default)]
pub struct StorageSettings {
    /// Which storage.
    pub choice: StorageChoice,
    /// What is left free on the host's file system, in bytes; [`crate::pool::size::reserve`] if
    /// not given.
    pub reserve: Option<u64>,
    /// The most a pool may hold, in bytes.
    pub limit: Option<u64>,
}
