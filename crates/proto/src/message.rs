//! The messages, written down as prost structs: field numbers are the contract.
//!
//! The first message on a stream is a [`Request`]; all the others are [`Reply`] from the agent
//! and [`Control`] from the daemon. A stream that carries standard input has the raw bytes after
//! its request and no further messages.
//!
//! | request | replies |
//! |---|---|
//! | `exec` | `refused`, or `started`, any number of `stdout` and `stderr`, `exited` |
//! | `exec` with `detach` | `refused` or `detached` |
//! | `stdin` | none; raw bytes from the daemon, whose end is the end of the input |
//! | `status` | `status` |
//! | `next_timer` | `next_timer` or `refused` |
//! | `identity`, `sync`, `power_off`, `ping` | `done` or `refused` |
//! | `mount_volume`, `unmount_volume`, `grow_volume`, `freeze_volume` | `done` or `refused` |
//! | `service_status` | `service_status` |
//! | `logs` | `stdout`, any number of times, then `done`; or `refused` |
//! | `settle` | `settled` |
//! | `terminal` | `refused`, or `attached`, any number of `stdout`, `exited` or `taken_over` |
//! | `sessions` | `sessions` |
//! | `dial` | `refused`, or `done` and then the connection's raw bytes both ways |
//! | `ports` | `ports` or `refused` |
//! | `identity`, `sync`, `power_off`, `ping`, `freeze`, `thaw` | `done` or `refused` |
//!
//! The daemon resetting the stream of a running exec means that nobody wants it any more, and
//! the agent kills it. The loss of the whole link does not mean that.

use bytes::Bytes;

use crate::service::Service;

/// What the agent says of itself in its ack.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AgentHello {
    /// Its own version, such as `0.1.0`.
    #[prost(string, tag = "1")]
    pub version: String,
    /// Kernel release of the guest.
    #[prost(string, tag = "2")]
    pub kernel: String,
    /// `/proc/sys/kernel/random/boot_id`.
    #[prost(string, tag = "3")]
    pub boot_id: String,
    /// What process 1 is: `lohar` or `systemd`. Empty from agents that are older than the question.
    #[prost(string, tag = "4")]
    pub init: String,
}

/// The first message on a stream, from the daemon.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Request {
    /// What is asked for. Missing if the agent is older than the operation.
    #[prost(
        oneof = "request::Op",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, 17, 18, 19, 20, 21, 22, 23, 25, 26"
    )]
    pub op: Option<request::Op>,
}

/// Parts of [`Request`].
pub mod request {
    /// The operations.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Op {
        /// Run a command.
        #[prost(message, tag = "1")]
        Exec(super::Exec),
        /// Carry the standard input of a command that was started before on the same link.
        #[prost(message, tag = "2")]
        Stdin(super::Stdin),
        /// Take an identity.
        #[prost(message, tag = "3")]
        Identity(super::Identity),
        /// Flush file systems.
        #[prost(message, tag = "4")]
        Sync(super::Sync),
        /// Power off in good order.
        #[prost(message, tag = "5")]
        PowerOff(super::PowerOff),
        /// Say something.
        #[prost(message, tag = "6")]
        Ping(super::Ping),
        /// Say how it goes.
        #[prost(message, tag = "7")]
        Status(super::Status),
        /// Set the clock.
        #[prost(message, tag = "8")]
        Clock(super::Clock),
        /// Say when something in the guest next wants to run.
        #[prost(message, tag = "9")]
        NextTimer(super::NextTimer),
        /// Mount a volume.
        #[prost(message, tag = "16")]
        MountVolume(super::MountVolume),
        /// Unmount a volume and let go of its disk.
        #[prost(message, tag = "17")]
        UnmountVolume(super::VolumeAt),
        /// Take notice that a volume has become larger.
        #[prost(message, tag = "18")]
        GrowVolume(super::VolumeAt),
        /// Have a volume stand still on its disk, or go on.
        #[prost(message, tag = "19")]
        FreezeVolume(super::FreezeVolume),
        /// Say how the program is doing that the machine keeps running.
        #[prost(message, tag = "10")]
        ServiceStatus(crate::service::ServiceStatus),
        /// Give what that program wrote.
        #[prost(message, tag = "11")]
        Logs(crate::service::Logs),
        /// Wait until the system is up.
        #[prost(message, tag = "12")]
        Settle(crate::service::Settle),
        /// Attach to a terminal.
        #[prost(message, tag = "22")]
        Terminal(crate::terminal::Terminal),
        /// Say which terminals there are.
        #[prost(message, tag = "23")]
        Sessions(crate::terminal::Sessions),
        /// Hold all writes to the root file system.
        #[prost(message, tag = "20")]
        Freeze(super::Freeze),
        /// Let them go on.
        #[prost(message, tag = "21")]
        Thaw(super::Thaw),
        /// Connect to a service in the guest.
        #[prost(message, tag = "25")]
        Dial(super::Dial),
        /// Say what listens.
        #[prost(message, tag = "26")]
        Ports(super::Ports),
    }
}

/// One environment variable.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Variable {
    /// Its name: not empty, no `=`, no NUL.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value: no NUL.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A command.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Exec {
    /// Program and arguments.
    #[prost(string, repeated, tag = "1")]
    pub argv: Vec<String>,
    /// Environment over the agent's defaults.
    #[prost(message, repeated, tag = "2")]
    pub env: Vec<Variable>,
    /// Working directory.
    #[prost(string, optional, tag = "3")]
    pub cwd: Option<String>,
    /// User, as in `name`, `uid`, `name:group`, `uid:gid`.
    #[prost(string, optional, tag = "4")]
    pub user: Option<String>,
    /// Time limit in milliseconds of the monotonic clock.
    #[prost(uint64, optional, tag = "5")]
    pub timeout_ms: Option<u64>,
    /// Whether a `stdin` stream will follow; otherwise the command reads end of file.
    #[prost(bool, tag = "6")]
    pub stdin: bool,
    /// Leave it to itself.
    #[prost(message, optional, tag = "7")]
    pub detach: Option<Detach>,
}

/// How a command is left to itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Detach {
    /// File that takes the output; the agent chooses one if missing.
    #[prost(string, optional, tag = "1")]
    pub output_file: Option<String>,
}

/// The standard input of a command.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Stdin {
    /// [`Started::exec`] of the command.
    #[prost(uint64, tag = "1")]
    pub exec: u64,
}

/// An identity.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Identity {
    /// Host name.
    #[prost(string, tag = "1")]
    pub hostname: String,
    /// 32 hexadecimal digits.
    #[prost(string, optional, tag = "2")]
    pub machine_id: Option<String>,
    /// Randomness for the kernel's pool.
    #[prost(bytes = "bytes", tag = "3")]
    pub entropy: Bytes,
    /// Wall clock in nanoseconds since 1970.
    #[prost(uint64, optional, tag = "4")]
    pub unix_nanos: Option<u64>,
    /// Environment of every command, under its own.
    #[prost(message, repeated, tag = "5")]
    pub env: Vec<Variable>,
    /// User of commands that name none.
    #[prost(string, optional, tag = "6")]
    pub user: Option<String>,
    /// Directory of commands that name none.
    #[prost(string, optional, tag = "7")]
    pub cwd: Option<String>,
    /// Grow the root file system to its disk.
    #[prost(bool, tag = "8")]
    pub grow_root: bool,
    /// A new machine, not one that goes on.
    #[prost(bool, tag = "9")]
    pub fresh: bool,
    /// A program to keep running.
    #[prost(message, optional, tag = "10")]
    pub service: Option<Service>,
    /// What its network card is set up with; left as it is if missing.
    #[prost(message, optional, tag = "15")]
    pub card: Option<Card>,
}

/// How a network card is set up.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Card {
    /// The card's own address, 6 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub mac: Bytes,
    /// IPv4 address, as a number.
    #[prost(fixed32, tag = "2")]
    pub address: u32,
    /// Bits of the network's prefix.
    #[prost(uint32, tag = "3")]
    pub prefix: u32,
    /// The default gateway, as a number.
    #[prost(fixed32, tag = "4")]
    pub gateway: u32,
    /// Longest packet, in bytes.
    #[prost(uint32, tag = "5")]
    pub mtu: u32,
    /// Name servers, as numbers.
    #[prost(fixed32, repeated, tag = "6")]
    pub dns: Vec<u32>,
}

/// Asks for a flush of the file systems.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Sync {}

/// Asks for an orderly power-off.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct PowerOff {}

/// Sets the guest's wall clock, which has stood still as long as its vCPUs. The answer is
/// [`Done`].
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Clock {
    /// Nanoseconds since 1970.
    #[prost(uint64, tag = "1")]
    pub unix_nanos: u64,
}

/// Asks for a sign of life.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Ping {}

/// Asks how the agent is doing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Status {}

/// Asks when something in the guest next wants to run by the wall clock.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct NextTimer {}

/// Mounts a volume: the disk with this serial number, which is there or about to come. One that
/// can be written to is grown to its disk. Mounted there already is success.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MountVolume {
    /// Serial number of its disk.
    #[prost(string, tag = "1")]
    pub serial: String,
    /// Where: an absolute path; the directory is made.
    #[prost(string, tag = "2")]
    pub path: String,
    /// Nothing may be written to it.
    #[prost(bool, tag = "3")]
    pub read_only: bool,
}

/// A volume and where it is mounted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct VolumeAt {
    /// Serial number of its disk.
    #[prost(string, tag = "1")]
    pub serial: String,
    /// The path.
    #[prost(string, tag = "2")]
    pub path: String,
}

/// Has a volume's file system write out all it holds and let nothing be written after that, or
/// go on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FreezeVolume {
    /// The volume.
    #[prost(message, optional, tag = "1")]
    pub volume: Option<VolumeAt>,
    /// After this long the agent has it go on by itself, in milliseconds; 0: it is to go on now,
    /// which is refused if it has already.
    #[prost(uint64, tag = "2")]
    pub limit_ms: u64,
}

/// Writes the root file system out and holds all writes to it, so that its disk can be copied as if
/// it had been unmounted. What writes waits; nothing else is held up.
///
/// Refused if it is frozen already, or its kind can't be.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Freeze {
    /// When it thaws by itself, in milliseconds: nobody may ever come to thaw it.
    #[prost(uint64, tag = "1")]
    pub limit_ms: u64,
}

/// Lets writes go on. Done if they were held until now, so that what was copied since the
/// [`Freeze`] is whole; refused if they were not.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Thaw {}
/// Connects to a TCP port of the guest's loopback. After [`Done`] the stream carries the
/// connection's bytes both ways, each way with an end of its own.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Dial {
    /// The port, 1 to 65535.
    #[prost(uint32, tag = "1")]
    pub port: u32,
}

/// Asks which TCP ports are listened on.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Ports {}

/// Further messages of the daemon on the stream of an exec.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Control {
    /// What to do. Missing if the agent is older than the operation.
    #[prost(oneof = "control::Op", tags = "1")]
    pub op: Option<control::Op>,
}

/// Parts of [`Control`].
pub mod control {
    /// What to do.
    #[derive(Clone, Copy, PartialEq, Eq, prost::Oneof)]
    pub enum Op {
        /// Send this signal to the process group.
        #[prost(int32, tag = "1")]
        Signal(i32),
    }
}

/// Messages of the agent.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Reply {
    /// What it says. Missing if the daemon is older than the agent.
    #[prost(
        oneof = "reply::Op",
        tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 22, 23, 24, 26"
    )]
    pub op: Option<reply::Op>,
}

/// Parts of [`Reply`].
pub mod reply {
    use bytes::Bytes;

    /// The answers.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Op {
        /// It is done.
        #[prost(message, tag = "1")]
        Done(super::Done),
        /// It is not done, and will not be.
        #[prost(message, tag = "2")]
        Refused(super::Refused),
        /// The command runs.
        #[prost(message, tag = "3")]
        Started(super::Started),
        /// The command wrote this to its standard output.
        #[prost(bytes = "bytes", tag = "4")]
        Stdout(Bytes),
        /// The command wrote this to its standard error.
        #[prost(bytes = "bytes", tag = "5")]
        Stderr(Bytes),
        /// The command ended; the last message.
        #[prost(message, tag = "6")]
        Exited(super::Exited),
        /// The command runs, left to itself.
        #[prost(message, tag = "7")]
        Detached(super::Detached),
        /// How it goes.
        #[prost(message, tag = "8")]
        Status(super::StatusReply),
        /// When something next wants to run.
        #[prost(message, tag = "9")]
        NextTimer(super::NextTimerReply),
        /// How the program is doing that the machine keeps running.
        #[prost(message, tag = "10")]
        ServiceStatus(crate::service::ServiceStatusReply),
        /// The system is up, or the time to wait for it is.
        #[prost(message, tag = "12")]
        Settled(crate::service::Settled),
        /// Whoever asked is attached to a terminal.
        #[prost(message, tag = "22")]
        Attached(crate::terminal::Attached),
        /// The terminals there are.
        #[prost(message, tag = "23")]
        Sessions(crate::terminal::SessionList),
        /// Somebody else has attached to the terminal.
        #[prost(message, tag = "24")]
        TakenOver(crate::terminal::TakenOver),
        /// What listens.
        #[prost(message, tag = "26")]
        Ports(super::PortsReply),
    }
}

/// It is done.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Done {}

/// A refusal.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refused {
    /// Its kind.
    #[prost(enumeration = "RefusalKind", tag = "1")]
    pub kind: i32,
    /// One line for the user.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// Kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum RefusalKind {
    /// None of the others: the system failed to do it.
    Failed = 0,
    /// There is no such program.
    NotFound = 1,
    /// The file cannot be executed.
    NotExecutable = 2,
    /// There is no such user or group.
    NoSuchUser = 3,
    /// The working directory cannot be used.
    BadCwd = 4,
    /// The output file cannot be used.
    BadOutput = 5,
    /// The request is not well formed.
    Invalid = 6,
    /// A limit of the agent's is reached.
    Busy = 7,
    /// The agent does not know the operation.
    Unsupported = 8,
    /// Nothing listens there.
    NotListening = 9,
}

/// A command runs.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Started {
    /// Its process id.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// The agent's name for it, never used again.
    #[prost(uint64, tag = "2")]
    pub exec: u64,
}

/// A command ended.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Exited {
    /// Its exit code, if it ended by itself.
    #[prost(int32, optional, tag = "1")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[prost(int32, optional, tag = "2")]
    pub signal: Option<i32>,
    /// The agent ended it because its time was up.
    #[prost(bool, tag = "3")]
    pub timed_out: bool,
}

/// A command runs, left to itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Detached {
    /// Its process id.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
    /// The file that takes its output.
    #[prost(string, tag = "2")]
    pub output_file: String,
}

/// How the agent is doing.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StatusReply {
    /// Its resident memory in bytes.
    #[prost(uint64, tag = "1")]
    pub rss_bytes: u64,
    /// How long it has been running, in milliseconds.
    #[prost(uint64, tag = "2")]
    pub uptime_ms: u64,
    /// Commands that run now.
    #[prost(uint32, tag = "3")]
    pub running: u32,
    /// Streams open on this link.
    #[prost(uint32, tag = "4")]
    pub streams: u32,
    /// How often it was given an identity.
    #[prost(uint64, tag = "5")]
    pub generation: u64,
}

/// When something in the guest next wants to run.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct NextTimerReply {
    /// Nanoseconds since 1970, later than the guest's clock says now; missing if nothing waits.
    #[prost(uint64, optional, tag = "1")]
    pub unix_nanos: Option<u64>,
    /// What it is, in a few words, such as `cron root: 5 4 * * *`.
    #[prost(string, tag = "2")]
    pub what: String,
}

/// What listens in the guest.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PortsReply {
    /// Its TCP sockets, sorted by port; at most 1024.
    #[prost(message, repeated, tag = "1")]
    pub ports: Vec<ListeningPort>,
}

/// A listening TCP socket.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ListeningPort {
    /// Its port.
    #[prost(uint32, tag = "1")]
    pub port: u32,
    /// The address it is bound to, as text: `0.0.0.0`, `127.0.0.1`, `::`.
    #[prost(string, tag = "2")]
    pub address: String,
}

impl Request {
    /// A request for one operation.
    pub const fn new(op: request::Op) -> Self {
        Self { op: Some(op) }
    }
}

impl Reply {
    /// An answer.
    pub const fn new(op: reply::Op) -> Self {
        Self { op: Some(op) }
    }

    /// The answer that something is done.
    pub const fn done() -> Self {
        Self::new(reply::Op::Done(Done {}))
    }

    /// A refusal.
    pub fn refused(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self::new(reply::Op::Refused(Refused {
            kind: kind.into(),
            message: message.into(),
        }))
    }
}
