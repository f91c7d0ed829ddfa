//! Commands in a guest.

use std::time::Duration;

use bhatti_proto::codec::{self, MAX_MESSAGE, MessageReader};
use bhatti_proto::message::{Control, Exited, control, reply};
use bhatti_types::env::Env;
use bytes::Bytes;
use futures::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::link::{self, CallError};
use crate::stream::Stream;

/// How long the agent may take to take a signal in.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);

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
    /// The command's own stream, for signals.
    control: Stream,
    /// The stream of its standard input, while that is open.
    stdin: Option<Stream>,
}

impl ExecInput {
    pub(crate) fn new(control: Stream, stdin: Option<Stream>) -> Self {
        Self { control, stdin }
    }

    /// Writes to the command's standard input; waits while the command does not read.
    ///
    /// Once the command has closed its end, or has ended, bytes are dropped without an error: a
    /// pipe's other end may close at any time. Not cancel-safe: a part may have been written.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), CallError> {
        let Some(stdin) = &mut self.stdin else {
            return Ok(());
        };
        match stdin.write_all(&bytes).await {
            Ok(()) => Ok(()),
            Err(_) => self.stdin_gone().await,
        }
    }

    /// Ends the standard input. Once it has ended, does nothing.
    pub async fn finish(&mut self) -> Result<(), CallError> {
        let Some(mut stdin) = self.stdin.take() else {
            return Ok(());
        };
        match stdin.close().await {
            Ok(()) => Ok(()),
            Err(_) => self.stdin_gone().await,
        }
    }

    /// Whether the command still takes input, as far as is known here.
    pub fn is_open(&self) -> bool {
        self.stdin.is_some()
    }

    /// Sends a signal to the command's process group. Does nothing once the command has ended.
    pub async fn signal(&mut self, number: i32) -> Result<(), CallError> {
        let message = Control {
            op: Some(control::Op::Signal(number)),
        };
        let sent = timeout(
            SIGNAL_LIMIT,
            codec::write(&mut self.control, &message, MAX_MESSAGE),
        )
        .await;
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => self.gone().await,
            Err(_elapsed) => Err(CallError::TimedOut {
                what: "take a signal",
                limit: SIGNAL_LIMIT,
            }),
        }
    }

    async fn stdin_gone(&mut self) -> Result<(), CallError> {
        self.stdin = None;
        self.gone().await
    }

    /// A stream that the agent has closed is no error; a link that is down is one.
    async fn gone(&self) -> Result<(), CallError> {
        match self.control.link().stream_failed("closed").await {
            CallError::Protocol { .. } => Ok(()),
            error => Err(error),
        }
    }
}

/// The output of a command. Dropping it before the end kills the command.
#[derive(Debug)]
pub struct ExecOutput {
    stream: Stream,
    replies: MessageReader<Stream>,
    ended: bool,
}

impl ExecOutput {
    pub(crate) fn new(stream: Stream, replies: MessageReader<Stream>) -> Self {
        Self {
            stream,
            replies,
            ended: false,
        }
    }

    /// The next piece of output, or the end. `None` after the end.
    ///
    /// Cancel-safe: no output is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Option<ExecEvent>, CallError> {
        if self.ended {
            return Ok(None);
        }
        let event = match link::answer(self.stream.link(), &mut self.replies).await? {
            reply::Op::Stdout(bytes) => ExecEvent::Stdout(bytes),
            reply::Op::Stderr(bytes) => ExecEvent::Stderr(bytes),
            reply::Op::Exited(exited) => {
                self.ended = true;
                ExecEvent::Exit(exit_status(exited)?)
            }
            other => return Err(link::wrong_answer(other)),
        };
        Ok(Some(event))
    }
}

impl Drop for ExecOutput {
    fn drop(&mut self) {
        // The input may live on elsewhere and hold the stream; nobody wants the command any more.
        self.stream.reset();
    }
}

pub(crate) fn exit_status(exited: Exited) -> Result<ExitStatus, CallError> {
    match exited {
        Exited {
            timed_out: true, ..
        } => Ok(ExitStatus::TimedOut),
        Exited {
            signal: Some(signal),
            ..
        } => Ok(ExitStatus::Signal(signal)),
        Exited {
            code: Some(code), ..
        } => Ok(ExitStatus::Code(code)),
        Exited { .. } => Err(CallError::Protocol {
            what: "an end without a code",
        }),
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
