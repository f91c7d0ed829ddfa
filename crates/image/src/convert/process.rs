//! A worker at work: what it says, and what is made of it.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use bhatti_host::worker::Worker;

use crate::convert::job::{Fault, GO, Job, Reply, Work};
use crate::convert::options::Options;

/// A worker that says nothing for so long is given up. It says something with every few
/// megabytes; before that it reads indexes, or a layer, which has a bounded size.
const SILENCE_LIMIT: Duration = Duration::from_mins(15);

/// The worker does not do its work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It cannot be started.
    #[error("failed to start the process that reads layers")]
    Start(#[source] io::Error),
    /// It ended before its work was done: killed by one of its limits, for example.
    #[error("the process that reads layers ended too early ({status}): {stderr}")]
    Ended {
        /// How it ended.
        status: String,
        /// What it wrote to standard error, for the log.
        stderr: String,
    },
    /// It cannot be talked to.
    #[error("failed to talk to the process that reads layers")]
    Talk(#[source] io::Error),
    /// It said what makes no sense.
    #[error("the process that reads layers said what it should not")]
    Nonsense,
    /// It said nothing for too long.
    #[error("the process that reads layers said nothing for {limit:?}")]
    Silent {
        /// How long it was waited for.
        limit: Duration,
    },
    /// What it was to read is at fault.
    #[error("the layers cannot be used: {reason}")]
    Layers {
        /// Why not.
        reason: String,
    },
    /// Something of the host is at fault.
    #[error("the layers cannot be unpacked here: {reason}")]
    Host {
        /// Why not.
        reason: String,
    },
    /// The host's disk is full.
    #[error("there is no room on the disk: {reason}")]
    NoRoom {
        /// What could not be written.
        reason: String,
    },
}

/// A worker that has its job. It is killed when this is dropped.
pub(super) struct Process {
    worker: Worker,
}

impl Process {
    pub(super) fn start(
        options: &Options,
        work: Work,
        files: &[BorrowedFd<'_>],
    ) -> Result<Self, WorkerError> {
        let job = Job {
            bounds: options.bounds(),
            limits: options.limits,
            work,
        };
        let job = serde_json::to_string(&job).map_err(|_| WorkerError::Nonsense)?;
        let worker = Worker::start(&options.worker, files, &job).map_err(WorkerError::Start)?;
        Ok(Self { worker })
    }

    pub(super) async fn go(&mut self) -> Result<(), WorkerError> {
        // One that is gone already is noticed by what it says next.
        match self.worker.send(GO).await {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(WorkerError::Talk(error))
            }
            _ => Ok(()),
        }
    }

    /// What it says next of its work; `None` when it has said all.
    pub(super) async fn next(&mut self) -> Result<Option<Reply>, WorkerError> {
        loop {
            let received = tokio::time::timeout(SILENCE_LIMIT, self.worker.receive()).await;
            let line = match received {
                Ok(line) => line.map_err(WorkerError::Talk)?,
                Err(_) => {
                    return Err(WorkerError::Silent {
                        limit: SILENCE_LIMIT,
                    });
                }
            };
            let Some(line) = line else {
                return Ok(None);
            };
            let reply = serde_json::from_str(&line).map_err(|_| WorkerError::Nonsense)?;
            match reply {
                Reply::Confined { missing } if missing.is_empty() => {}
                Reply::Confined { missing } => tracing::warn!(
                    missing = missing.join(", "),
                    "layers are read by a process that is not confined in every way"
                ),
                Reply::Failed { fault, reason } => {
                    return Err(match fault {
                        Fault::Layers => WorkerError::Layers { reason },
                        Fault::Host => WorkerError::Host { reason },
                        Fault::NoRoom => WorkerError::NoRoom { reason },
                    });
                }
                reply => return Ok(Some(reply)),
            }
        }
    }

    /// What is to be said of a worker that says no more, with its work not done.
    pub(super) async fn early_end(self) -> WorkerError {
        match self.worker.end().await {
            Ok(ended) => WorkerError::Ended {
                status: ended.status,
                stderr: ended.stderr,
            },
            Err(error) => WorkerError::Talk(error),
        }
    }

    /// Waits for the end of a worker that has done its work.
    pub(super) async fn end(self) -> Result<(), WorkerError> {
        self.worker.end().await.map(drop).map_err(WorkerError::Talk)
    }
}
