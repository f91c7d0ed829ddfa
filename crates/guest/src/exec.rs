//! Commands in a guest.

use std::time::Duration;

use bhatti_types::env::Env;
use bytes::Bytes;

use crate::link::CallError;

/// A command to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The program and its arguments; not empty.
    pub argv: Vec<String>,
    /// Environment, over the guest's own.
    pub env: Env,
    /// Working directory; the guest's own if `None`.
    pub cwd: Option<String>,
    /// User name or uid, `user:group` or `uid:gid`; the guest's own if `None`.
    pub user: Option<String>,
    /// Time limit, kept by the guest's monotonic clock.
    pub timeout: Option<Duration>,
    /// Whether standard input will be written. Without it the command reads end of file.
    pub stdin: bool,
}

/// A running command.
///
/// Dropping [`ExecOutput`] (and so dropping the whole) before its end kills the command: its
/// process group and its session.
#[derive(Debug)]
pub struct Exec {
    /// Process id in the guest.
    pub pid: u32,
    /// Its standard input.
    pub input: ExecInput,
    /// Its output and its end.
    pub output: ExecOutput,
}

/// The standard input of a command. Dropping it is end of file for the command.
#[derive(Debug)]
pub struct ExecInput {
    _private: (),
}

impl ExecInput {
    /// Writes to the command's standard input; waits while the command does not read.
    ///
    /// Once the command has closed its end, bytes are dropped without an error, as a pipe's
    /// other end may close at any time.
    pub async fn write(&mut self, _bytes: Bytes) -> Result<(), CallError> {
        unimplemented!()
    }

    /// Ends the standard input.
    pub async fn finish(&mut self) -> Result<(), CallError> {
        unimplemented!()
    }

    /// Sends a signal to the command's process group.
    pub async fn signal(&mut self, _number: i32) -> Result<(), CallError> {
        unimplemented!()
    }
}

/// The output of a command.
#[derive(Debug)]
pub struct ExecOutput {
    _private: (),
}

impl ExecOutput {
    /// The next piece of output, or the end. `None` after the end.
    ///
    /// Cancel-safe: no output is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Option<ExecEvent>, CallError> {
        unimplemented!()
    }
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// Wrote to standard output.
    Stdout(Bytes),
    /// Wrote to standard error.
    Stderr(Bytes),
    /// Ended. All output that it wrote before has been given.
    Exit(ExitStatus),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// By its time limit.
    TimedOut,
}

/// A command that was left to itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detached {
    /// Process id in the guest.
    pub pid: u32,
    /// File in the guest that takes its output.
    pub output_file: String,
}
