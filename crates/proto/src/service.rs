//! Messages about the one program that a machine keeps running, and about its init.

use crate::message::Exited;

/// A program that the machine keeps running, as its own user, in its own environment and
/// directory. Started once after each boot, by the first identity that carries it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Service {
    /// Program and arguments; not empty.
    #[prost(string, repeated, tag = "1")]
    pub argv: Vec<String>,
    /// Whether it is started again when it has ended.
    #[prost(enumeration = "Restart", tag = "2")]
    pub restart: i32,
    /// The signal that asks it to end, 1 to 64; `SIGTERM` if it is none of these.
    #[prost(int32, tag = "3")]
    pub stop_signal: i32,
}

/// Whether a program that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Restart {
    /// If it did not end with exit code 0.
    OnFailure = 0,
    /// It is not.
    No = 1,
    /// However it ended.
    Always = 2,
}

/// Asks how the program is doing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ServiceStatus {}

/// How the program is doing.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ServiceStatusReply {
    /// Where it is in its life.
    #[prost(enumeration = "ServicePhase", tag = "1")]
    pub phase: i32,
    /// Its process id, while it runs.
    #[prost(uint32, optional, tag = "2")]
    pub pid: Option<u32>,
    /// Since when it is in that phase, in milliseconds since 1970 by the guest's clock.
    #[prost(uint64, optional, tag = "3")]
    pub since_unix_ms: Option<u64>,
    /// How often it was started again.
    #[prost(uint32, tag = "4")]
    pub restarts: u32,
    /// How it last ended.
    #[prost(message, optional, tag = "5")]
    pub last_exit: Option<Exited>,
    /// Why it could not be started the last time; empty if it could.
    #[prost(string, tag = "6")]
    pub error: String,
}

/// Where the program is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum ServicePhase {
    /// There is none.
    None = 0,
    /// It runs.
    Running = 1,
    /// It has ended and will be started again.
    Waiting = 2,
    /// It has ended and stays so.
    Ended = 3,
}

/// Asks for what the program wrote. The answers are `stdout` with pieces of it, then `done`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Logs {
    /// Only so many lines of its end; all that is kept if missing.
    #[prost(uint32, optional, tag = "1")]
    pub tail: Option<u32>,
    /// Go on with what it writes from now on, until the daemon ends the stream.
    #[prost(bool, tag = "2")]
    pub follow: bool,
}

/// Asks for an answer when the machine's init has brought the system up.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Settle {
    /// How long to wait for it, in milliseconds.
    #[prost(uint64, tag = "1")]
    pub limit_ms: u64,
}

/// The system is up, or the time is.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Settled {
    /// The init's word for it, such as systemd's `running`, `degraded` or `starting`; empty if the
    /// agent itself is the init.
    #[prost(string, tag = "1")]
    pub state: String,
}
