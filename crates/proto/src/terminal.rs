//! Messages about terminals: programs that believe that a person sits before them.
//!
//! The first reply to `terminal` is `attached` or `refused`. Then the agent sends what the terminal
//! shows as `stdout`, and in the end `exited`, or `taken_over` if somebody else attached. The
//! daemon sends [`TerminalInput`].

use bytes::Bytes;

use crate::message::{Exec, Exited};

/// Attaches to a session, or begins one.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Terminal {
    /// What to run in a new one; without arguments it is the user's shell. Time limit, `stdin`
    /// and `detach` mean nothing here.
    #[prost(message, optional, tag = "1")]
    pub exec: Option<Exec>,
    /// The session to attach to. Refused if there is none of that name.
    #[prost(string, optional, tag = "2")]
    pub session: Option<String>,
    /// Begin a new one also if there is one that nobody is attached to.
    #[prost(bool, tag = "3")]
    pub new: bool,
    /// How large the terminal is.
    #[prost(message, optional, tag = "4")]
    pub size: Option<Size>,
    /// Its kind, for the variable `TERM` of a new one.
    #[prost(string, tag = "5")]
    pub term: String,
    /// The new one ends when the daemon ends the stream, as a command does.
    #[prost(bool, tag = "6")]
    pub ephemeral: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Size {
    /// Lines.
    #[prost(uint32, tag = "1")]
    pub rows: u32,
    /// Columns.
    #[prost(uint32, tag = "2")]
    pub cols: u32,
}

/// What comes from whoever is attached.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct TerminalInput {
    /// What it is. Missing if the agent is older than it.
    #[prost(oneof = "terminal_input::Op", tags = "1, 2")]
    pub op: Option<terminal_input::Op>,
}

/// Parts of [`TerminalInput`].
pub mod terminal_input {
    use bytes::Bytes;

    /// What comes from whoever is attached.
    #[derive(Clone, PartialEq, Eq, prost::Oneof)]
    pub enum Op {
        /// Keys.
        #[prost(bytes = "bytes", tag = "1")]
        Data(Bytes),
        /// The terminal has another size.
        #[prost(message, tag = "2")]
        Size(super::Size),
    }
}

/// Whoever asked is attached to a session.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Attached {
    /// The session's name in this guest.
    #[prost(string, tag = "1")]
    pub session: String,
    /// Process id of its program.
    #[prost(uint32, tag = "2")]
    pub pid: u32,
    /// It was there before.
    #[prost(bool, tag = "3")]
    pub resumed: bool,
}

/// Somebody else has attached to the session. The last message.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct TakenOver {}

/// Asks for all sessions.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Sessions {}

/// All sessions, oldest first.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SessionList {
    /// The sessions.
    #[prost(message, repeated, tag = "1")]
    pub sessions: Vec<Session>,
}

/// A session.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Session {
    /// Its name in this guest.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Program and arguments.
    #[prost(string, repeated, tag = "2")]
    pub argv: Vec<String>,
    /// Process id of its program.
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    /// Somebody is attached.
    #[prost(bool, tag = "4")]
    pub attached: bool,
    /// When it began, in milliseconds since 1970 by the guest's clock.
    #[prost(uint64, tag = "5")]
    pub created_unix_ms: u64,
    /// How its program ended, once it has.
    #[prost(message, optional, tag = "6")]
    pub exit: Option<Exited>,
}

impl TerminalInput {
    /// Keys.
    pub const fn data(bytes: Bytes) -> Self {
        Self {
            op: Some(terminal_input::Op::Data(bytes)),
        }
    }

    /// A new size.
    pub const fn size(size: Size) -> Self {
        Self {
            op: Some(terminal_input::Op::Size(size)),
        }
    }
}
