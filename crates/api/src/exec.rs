//! Running commands: the JSON bodies and the WebSocket protocol.
//!
//! `POST /sandboxes/{id}/exec` runs a command without standard input and answers once it has
//! ended, or line by line (`Accept: application/x-ndjson`).
//!
//! `GET /sandboxes/{id}/exec/ws` with the WebSocket subprotocol [`WS_PROTOCOL`] carries standard
//! input too, byte-exact:
//! ```text
//! client -> text    ExecRequest
//! client -> binary  [0] bytes of standard input;  [0] alone is its end
//! client -> text    {"type":"signal","signal":15}
//! server -> binary  [1] bytes of standard output, [2] bytes of standard error
//! server -> text    {"type":"exit",…} or {"type":"error",…}, then close
//! ```
//! A client that goes away without having read `exit` takes the command's whole process group
//! with it (SIGKILL), unless it was detached.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The WebSocket subprotocol described above.
pub const WS_PROTOCOL: &str = "bhatti.exec.v1";
/// First byte of a binary message that carries standard input.
pub const CHANNEL_STDIN: u8 = 0;
/// First byte of a binary message that carries standard output.
pub const CHANNEL_STDOUT: u8 = 1;
/// First byte of a binary message that carries standard error.
pub const CHANNEL_STDERR: u8 = 2;
/// Longest payload of one binary message, in bytes, either way.
pub const MAX_CHUNK: usize = 64 * 1024;
/// Time limit of a command that gives none, in seconds.
pub const DEFAULT_TIMEOUT_SEC: u64 = 300;
/// Longest time limit, in seconds.
pub const MAX_TIMEOUT_SEC: u64 = 86_400;
/// Exit code of a command that was ended because its time was up; that of coreutils' `timeout`.
pub const EXIT_TIMED_OUT: i32 = 124;
/// Most output that a buffered (not streamed) exec returns per stream, in bytes.
pub const MAX_BUFFERED: usize = 10 * 1024 * 1024;

/// A command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExecRequest {
    /// The program and its arguments. Searched for on the guest's PATH.
    pub cmd: Vec<String>,
    /// Environment, over that of the sandbox.
    pub env: BTreeMap<String, String>,
    /// Working directory; the image's own if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// User name, uid, or `user:group`; the sandbox's own if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Time limit in seconds, [`DEFAULT_TIMEOUT_SEC`] if 0 or missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_sec: Option<u64>,
    /// Leave it running and answer at once with its process id. No time limit then, unless one is
    /// given.
    pub detach: bool,
    /// Where in the guest a detached command's output goes; one is chosen if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_file: Option<String>,
    /// WebSocket only: standard input will follow. Without it the command reads end of file.
    pub stdin: bool,
}

/// How a buffered command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ExecResult {
    /// Exit code, 128 + the signal that ended it, or [`EXIT_TIMED_OUT`].
    pub exit_code: i32,
    /// Standard output as text; bytes that are not UTF-8 are replaced, see `stdout_base64`.
    pub stdout: String,
    /// Standard error as text.
    pub stderr: String,
    /// Standard output exactly, only there when it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdout_base64: Option<String>,
    /// Standard error exactly, only there when it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stderr_base64: Option<String>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// It was ended because its time was up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    /// Output past [`MAX_BUFFERED`] was dropped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// A detached command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExecDetached {
    /// Process id inside the guest.
    pub pid: u32,
    /// File in the guest that takes its output.
    pub output_file: String,
    /// Always true.
    pub detached: bool,
}

/// One line of a streamed exec, and the text messages of the server on the WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ExecEvent {
    /// A piece of standard output.
    Stdout {
        /// As text.
        data: String,
        /// Exactly, only there when it is not UTF-8.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data_base64: Option<String>,
    },
    /// A piece of standard error.
    Stderr {
        /// As text.
        data: String,
        /// Exactly, only there when it is not UTF-8.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data_base64: Option<String>,
    },
    /// The end of the command. The last line.
    Exit {
        /// Exit code, 128 + the signal, or [`EXIT_TIMED_OUT`].
        exit_code: i32,
        /// The signal that ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// It was ended because its time was up.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        timed_out: bool,
    },
    /// The command could not be run or its machine went away. The last line.
    Error {
        /// One line.
        data: String,
        /// What to do about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
}

/// Text messages of the client on the WebSocket, after the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ExecControl {
    /// Send a signal to the command's process group.
    Signal {
        /// Its number on Linux.
        signal: i32,
    },
}
