//! Terminals in sandboxes: the list, and the WebSocket protocol.
//!
//! `GET /sandboxes/{id}/ws` attaches to the newest session that nobody is attached to, or begins
//! one with the user's shell: `?session=ID` to one session, `?new=true` to a new one; `?rows=`,
//! `?cols=` and `?term=` say what the terminal is like; `?exec=JSON`, an exec request, runs another
//! program, which ends when the client goes.
//! ```text
//! server -> text    {"type":"session","session_id":"…","resumed":false}
//! server -> binary  what the terminal shows; of a session that was there before, what it showed
//! client -> binary  keys
//! client -> text    {"type":"resize","rows":24,"cols":80}
//! server -> text    {"type":"exit",…}, {"type":"taken_over"} or {"type":"error",…}, then close
//! ```
//! A client that goes away detaches; the session goes on in the guest.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest binary message either way, in bytes.
pub const MAX_CHUNK: usize = 64 * 1024;

/// Text messages of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TerminalEvent {
    /// The client is attached. The first message.
    Session {
        /// The session's id.
        session_id: String,
        /// It was there before.
        #[serde(default)]
        resumed: bool,
    },
    /// The program has ended. The last message.
    Exit {
        /// Exit code, or 128 + the signal.
        exit_code: i32,
        /// The signal that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
    },
    /// Somebody else has attached to the session. The last message.
    TakenOver,
    /// There is no terminal, or its machine went away. The last message.
    Error {
        /// One line.
        data: String,
        /// What to do about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// Text messages of the client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum TerminalControl {
    /// The terminal has another size.
    Resize {
        /// Lines.
        rows: u16,
        /// Columns.
        cols: u16,
    },
}

/// One session of `GET /sandboxes/{id}/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Its id.
    pub session_id: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its program runs.
    pub running: bool,
    /// Somebody is attached.
    pub attached: bool,
    /// Always true: it has a terminal.
    pub tty: bool,
    /// Process id in the guest.
    pub pid: u32,
    /// When it began, RFC 3339, by the guest's clock.
    pub created_at: String,
    /// Exit code, or 128 + the signal, once the program has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}
