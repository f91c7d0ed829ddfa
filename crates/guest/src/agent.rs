//! What an agent says of itself.

use std::net::IpAddr;
use std::time::Duration;

/// What the agent said in the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentInfo {
    /// Version of the protocol it speaks.
    pub protocol: u32,
    /// Its own version, such as `0.1.0`.
    pub version: String,
    /// Kernel release of the guest.
    pub kernel: String,
    /// Identity of the boot; the same in every copy made from one snapshot.
    pub boot_id: String,
    /// What process 1 of the guest is: `lohar` or `systemd`; empty if the agent is older than the
    /// question.
    pub init: String,
}

/// How the agent is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentStatus {
    /// Its resident memory, in bytes.
    pub rss_bytes: u64,
    /// How long it has been running.
    pub uptime: Duration,
    /// Commands that run now, detached ones included.
    pub running: u32,
    /// Streams open on this link, the asking one included.
    pub streams: u32,
    /// How often it was given an identity.
    pub generation: u64,
}

/// A TCP socket that is listened on in a guest: the guest's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListeningPort {
    /// Its port.
    pub port: u16,
    /// The address it is bound to; unspecified for all of them.
    pub address: IpAddr,
}

/// The next thing in a guest that wants to run by the wall clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextTimer {
    /// When, in nanoseconds since 1970. It was in the future by the guest's clock; nothing else is
    /// certain about it, for it is the guest's word.
    pub unix_nanos: u64,
    /// What it is, such as `cron root: 5 4 * * *`: one printable line, bounded.
    pub what: String,
}

impl NextTimer {
    /// How long before its moment a guest that sleeps has to be woken, and how long after it the
    /// guest has to be left awake.
    ///
    /// Cron daemons look at the clock once in a minute of running time (busybox's every 61
    /// seconds), and their first look after a long sleep passes over what was due in between.
    pub const MARGIN: Duration = Duration::from_secs(75);
}
