//! The program that a guest keeps running, and the guest's init.

use std::time::Duration;

use bhatti_proto::codec::{MAX_MESSAGE, MessageReader};
use bhatti_proto::message::{reply, request};
use bhatti_proto::service::{
    Logs as LogsMessage, Restart, Service, ServicePhase, ServiceStatus as StatusMessage,
    ServiceStatusReply, Settle,
};
use bhatti_types::run::{RestartPolicy, RunSpec};
use bytes::Bytes;

use crate::error::{CallError, printable};
use crate::exec::{ExitStatus, exit_status};
use crate::link::{Link, answer, within, wrong_answer};
use crate::stream::Stream;

/// How long the agent may take to answer beyond the time that the guest's init is given.
const SETTLE_SLACK: Duration = Duration::from_secs(10);

/// How the program is doing that a guest keeps running. All of it is the guest's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: Option<u64>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it last ended.
    pub last_exit: Option<ExitStatus>,
    /// Why it could not be started the last time: one printable line, bounded.
    pub error: Option<String>,
}

/// Where the program is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    None,
    /// It runs, as this process.
    Running {
        /// Its process id.
        pid: u32,
    },
    /// It has ended and will be started again.
    Waiting,
    /// It has ended and stays so.
    Ended,
}

/// Which part of what the program wrote is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogsWanted {
    /// Only so many lines of its end; all that is kept if `None`.
    pub tail: Option<u32>,
    /// Also what it writes from now on.
    pub follow: bool,
}

/// What the program wrote, as it comes.
#[derive(Debug)]
pub struct Logs {
    stream: Stream,
    replies: MessageReader<Stream>,
    ended: bool,
}

impl Logs {
    /// The next piece; `None` at the end, which there is none of while they are followed.
    ///
    /// Cancel-safe: nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        if self.ended {
            return Ok(None);
        }
        match answer(self.stream.link(), &mut self.replies).await? {
            reply::Op::Stdout(bytes) => Ok(Some(bytes)),
            reply::Op::Done(_) => {
                self.ended = true;
                Ok(None)
            }
            other => Err(wrong_answer(other)),
        }
    }
}

impl Link {
    /// Asks how the program is doing that the guest keeps running. An agent that is older than the
    /// question refuses it as [`crate::link::RefusedKind::Unsupported`].
    pub async fn service_status(&self, limit: Duration) -> Result<ServiceStatus, CallError> {
        let op = request::Op::ServiceStatus(StatusMessage {});
        match within("say how its program is", limit, self.ask(op)).await? {
            reply::Op::ServiceStatus(status) => Ok(status_of(&status)),
            other => Err(wrong_answer(other)),
        }
    }

    /// Asks for what that program wrote. The time limit is for the first answer to the request;
    /// dropping the [`Logs`] ends them.
    pub async fn logs(&self, wanted: LogsWanted) -> Result<Logs, CallError> {
        let op = request::Op::Logs(LogsMessage {
            tail: wanted.tail,
            follow: wanted.follow,
        });
        let stream = self.request(op).await?;
        let replies = MessageReader::new(stream.clone(), MAX_MESSAGE);
        Ok(Logs {
            stream,
            replies,
            ended: false,
        })
    }

    /// Waits until the guest's init has brought the system up, or `limit` is over, and gives its
    /// word for how it is: systemd's `running`, `degraded`, `starting` and so on, or an empty one
    /// where the agent is the init.
    pub async fn settle(&self, limit: Duration) -> Result<String, CallError> {
        let op = request::Op::Settle(Settle {
            limit_ms: limit.as_millis() as u64,
        });
        match within("come up", limit + SETTLE_SLACK, self.ask(op)).await? {
            reply::Op::Settled(settled) => Ok(printable(&settled.state)),
            other => Err(wrong_answer(other)),
        }
    }
}

/// A program as the agent is told of it.
pub(crate) fn message(run: &RunSpec) -> Service {
    let restart = match run.restart {
        RestartPolicy::No => Restart::No,
        RestartPolicy::OnFailure => Restart::OnFailure,
        RestartPolicy::Always => Restart::Always,
    };
    Service {
        argv: run.argv.clone(),
        restart: restart.into(),
        stop_signal: run.stop_signal.number(),
    }
}

fn status_of(status: &ServiceStatusReply) -> ServiceStatus {
    let phase = match (status.phase(), status.pid) {
        (ServicePhase::None, _) => Phase::None,
        (ServicePhase::Running, Some(pid)) => Phase::Running { pid },
        (ServicePhase::Running | ServicePhase::Waiting, _) => Phase::Waiting,
        (ServicePhase::Ended, _) => Phase::Ended,
    };
    ServiceStatus {
        phase,
        since_unix_ms: status.since_unix_ms,
        restarts: status.restarts,
        last_exit: status.last_exit.and_then(|exit| exit_status(exit).ok()),
        error: (!status.error.is_empty()).then(|| printable(&status.error)),
    }
}
