//! Protocol versions.
//!
//! The agent is frozen inside snapshots and the daemon is not, so the daemon adapts: an agent
//! answers every hello with its own version, and the daemon speaks that version or says that it
//! no longer can. Within one version fields may be added (an older reader skips them) and
//! operations may be added (an older agent answers [`crate::message::RefusalKind::Unsupported`]).
//! Any other change is a new version, with a golden file of its own.

/// The version of the protocol described by this crate.
pub const PROTOCOL: u32 = 1;

/// The oldest version of an agent that the daemon still speaks.
pub const OLDEST: u32 = 1;

/// Whether the daemon can speak to an agent of this version.
pub const fn is_spoken(version: u32) -> bool {
    OLDEST <= version && version <= PROTOCOL
}
