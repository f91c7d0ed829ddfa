//! A running command as the answers see it, and the real one behind it.

use std::time::Duration;

use bhatti_api::exec::EXIT_TIMED_OUT;
use bhatti_engine::error::Error as EngineError;
use bhatti_engine::view::Lease;
use bhatti_guest::exec::{Exec, ExecEvent, ExecInput, ExecOutput, ExitStatus};
use bytes::Bytes;
use tokio::time::Instant;

use crate::error::ApiError;

/// How much longer than its time limit a command is waited for. The guest keeps the limit; this
/// is for guests that do not.
const GRACE: Duration = Duration::from_secs(30);

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// It wrote to standard output.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// It ended. Nothing follows.
    Exit(Exit),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Exit code, 128 + the signal, or [`EXIT_TIMED_OUT`].
    pub(crate) code: i32,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    /// Whether its time was up.
    pub(crate) timed_out: bool,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Self {
        let (code, signal) = match status {
            ExitStatus::Code(code) => (code, None),
            ExitStatus::Signal(signal) => (128_i32.saturating_add(signal), Some(signal)),
            ExitStatus::TimedOut => (EXIT_TIMED_OUT, None),
        };
        Self {
            code,
            signal,
            timed_out: status == ExitStatus::TimedOut,
        }
    }
}

/// The output of a command. Dropping it before its end ends the command.
pub(crate) trait Output: Send + 'static {
    /// The next thing the command does. Cancel-safe. Nothing follows [`Step::Exit`] or an error.
    fn next(&mut self) -> impl Future<Output = Result<Step, ApiError>> + Send;
}

/// The standard input of a command, and its signals.
pub(crate) trait Input: Send + 'static {
    /// Passes bytes on; waits while the command does not read.
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = Result<(), ApiError>> + Send;
    /// Ends standard input.
    fn finish(&mut self) -> impl Future<Output = Result<(), ApiError>> + Send;
    /// Sends a signal to the command's process group.
    fn signal(&mut self, number: i32) -> impl Future<Output = Result<(), ApiError>> + Send;
}

/// The output of a command in a guest, with the time it may take.
pub(crate) struct GuestOutput {
    output: ExecOutput,
    /// Keeps the sandbox hot for as long as the command runs.
    _lease: Lease,
    deadline: Option<Deadline>,
}

struct Deadline {
    at: Instant,
    limit: Duration,
}

/// The standard input of a command in a guest.
pub(crate) struct GuestInput(ExecInput);

/// Takes a command in a guest apart; `limit` is the time limit it was given.
pub(crate) fn of_guest(
    exec: Exec,
    lease: Lease,
    limit: Option<Duration>,
) -> (GuestInput, GuestOutput) {
    let deadline = limit.map(|limit| Deadline {
        at: Instant::now() + limit + GRACE,
        limit,
    });
    let output = GuestOutput {
        output: exec.output,
        _lease: lease,
        deadline,
    };
    (GuestInput(exec.input), output)
}

impl Output for GuestOutput {
    async fn next(&mut self) -> Result<Step, ApiError> {
        let event = match &self.deadline {
            None => self.output.next().await,
            Some(deadline) => tokio::time::timeout_at(deadline.at, self.output.next())
                .await
                .map_err(|_| EngineError::Timeout {
                    what: "the command",
                    seconds: deadline.limit.as_secs(),
                })?,
        };
        match event.map_err(EngineError::from)? {
            Some(ExecEvent::Stdout(bytes)) => Ok(Step::Stdout(bytes)),
            Some(ExecEvent::Stderr(bytes)) => Ok(Step::Stderr(bytes)),
            Some(ExecEvent::Exit(status)) => Ok(Step::Exit(status.into())),
            None => Err(EngineError::Failed {
                message: "the command ended without an exit code".to_owned(),
                hint: None,
                source: None,
            }
            .into()),
        }
    }
}

impl Input for GuestInput {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ApiError> {
        Ok(self.0.write(bytes).await.map_err(EngineError::from)?)
    }

    async fn finish(&mut self) -> Result<(), ApiError> {
        Ok(self.0.finish().await.map_err(EngineError::from)?)
    }

    async fn signal(&mut self, number: i32) -> Result<(), ApiError> {
        Ok(self.0.signal(number).await.map_err(EngineError::from)?)
    }
}

/// A command that does what it is told, for tests.
#[cfg(test)]
pub(crate) mod script {
    use std::collections::VecDeque;

    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::{Exit, Input, Output, Step};
    use crate::error::ApiError;

    /// Output that was written beforehand; hangs at its end.
    pub(crate) struct Script(pub(crate) VecDeque<Result<Step, ApiError>>);

    impl Script {
        pub(crate) fn new(steps: impl IntoIterator<Item = Step>) -> Self {
            Self(steps.into_iter().map(Ok).collect())
        }
    }

    impl Output for Script {
        async fn next(&mut self) -> Result<Step, ApiError> {
            match self.0.pop_front() {
                Some(step) => step,
                None => std::future::pending().await,
            }
        }
    }

    pub(crate) fn stdout(bytes: &'static [u8]) -> Step {
        Step::Stdout(Bytes::from_static(bytes))
    }

    pub(crate) fn stderr(bytes: &'static [u8]) -> Step {
        Step::Stderr(Bytes::from_static(bytes))
    }

    pub(crate) fn exit(code: i32) -> Step {
        Step::Exit(Exit {
            code,
            signal: None,
            timed_out: false,
        })
    }

    /// `cat`, more or less: writes what it reads, ends at the end of its input with 0 and at a
    /// signal with that. Its two halves are joined by a short queue, so that it blocks as a pipe
    /// does.
    pub(crate) fn cat() -> (CatInput, CatOutput) {
        let (sender, receiver) = mpsc::channel(1);
        (CatInput(sender), CatOutput(receiver))
    }

    pub(crate) struct CatInput(mpsc::Sender<Step>);
    pub(crate) struct CatOutput(mpsc::Receiver<Step>);

    impl CatInput {
        async fn step(&self, step: Step) -> Result<(), ApiError> {
            // A closed end of a pipe is not an error of the command's caller.
            let _ = self.0.send(step).await;
            Ok(())
        }
    }

    impl Input for CatInput {
        async fn write(&mut self, bytes: Bytes) -> Result<(), ApiError> {
            self.step(Step::Stdout(bytes)).await
        }

        async fn finish(&mut self) -> Result<(), ApiError> {
            self.step(exit(0)).await
        }

        async fn signal(&mut self, number: i32) -> Result<(), ApiError> {
            self.step(Step::Exit(Exit {
                code: 128 + number,
                signal: Some(number),
                timed_out: false,
            }))
            .await
        }
    }

    impl Output for CatOutput {
        async fn next(&mut self) -> Result<Step, ApiError> {
            match self.0.recv().await {
                Some(step) => Ok(step),
                None => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod test {
    use bhatti_guest::exec::ExitStatus;

    use super::Exit;

    #[test]
    fn ends_have_the_exit_codes_of_a_shell() {
        let of = |status| {
            let exit = Exit::from(status);
            (exit.code, exit.signal, exit.timed_out)
        };
        assert_eq!(of(ExitStatus::Code(255)), (255, None, false));
        assert_eq!(of(ExitStatus::Signal(9)), (137, Some(9), false));
        assert_eq!(of(ExitStatus::TimedOut), (124, None, true));
    }
}
