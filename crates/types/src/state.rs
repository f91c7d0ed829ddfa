//! How a sandbox is doing, in the two words that users see.

use serde::{Deserialize, Serialize};

/// Whether the machine is there for its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Being made; not usable yet.
    Creating,
    /// There, hot or warm.
    Running,
    /// On disk, with its memory (cold) or without (off).
    Stopped,
    /// Something went wrong that bhatti does not repair by itself; the reason is in the view.
    Failed,
    /// Being taken away.
    Destroying,
}

impl Status {
    /// The word as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Destroying => "destroying",
        }
    }
}

/// Where the machine's memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Thermal {
    /// vCPUs run.
    Hot,
    /// vCPUs are paused, memory is kept.
    Warm,
    /// Memory is on disk; the next wake goes on from there.
    Cold,
    /// There is no memory; the next start boots from the disk.
    Off,
}

impl Thermal {
    /// The word as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
            Self::Off => "off",
        }
    }
}
