//! The way to a sandbox's task, from everywhere else.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bhatti_guest::link::Link;
use bhatti_lifecycle::idle::{Candidate, IdlePolicy};
use bhatti_lifecycle::state::State;
use bhatti_store::snapshot::SnapshotRow;
use bhatti_types::id::{SandboxId, UserId, VolumeId};
use bhatti_types::size::VolumeMb;
use bhatti_types::state::Status;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Span;

use super::fork::Forked;
use super::leases::{Lease, Leases, Waiting};
use super::save_disk::SavedDisk;
use super::work::ForkPoint;
use crate::checkpoint::SavedVolume;
use crate::error::{Error, Kind};
use crate::request::EditSandbox;
use crate::view::{IdleView, RolledBackView, SandboxView};
use crate::volumes::copies::Wanted;

/// Requests that may wait for one sandbox. More are made to wait at the sender.
pub(super) const QUEUE: usize = 64;

/// What a sandbox is, as published.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// Grows with every change.
    pub(crate) generation: u64,
    /// What is shown.
    pub(crate) view: SandboxView,
    /// What holds for it when it is idle.
    pub(crate) policy: IdlePolicy,
    /// When its vCPUs were paused, while they are.
    pub(crate) paused_at: Option<std::time::Instant>,
}

impl Published {
    /// Where it is in its life.
    pub(crate) fn state(&self) -> State {
        State::from_shown(self.view.status, self.view.thermal)
    }
}

/// When a client whose request did not finish in time had better ask again.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The way to a sandbox's task.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) id: SandboxId,
    pub(crate) user: UserId,
    pub(super) requests: mpsc::Sender<Asked>,
    pub(super) published: watch::Receiver<Published>,
    pub(super) leases: Arc<Leases>,
}

/// A message, and the span of who sent it: the work is done in the task, and shown under the
/// request.
pub(super) struct Asked {
    pub(super) message: Message,
    pub(super) span: Span,
}

/// A request to the task, and where its answer goes.
pub(super) enum Message {
    Wake {
        what: String,
        waiting: Waiting,
        reply: oneshot::Sender<Result<Lease, Error>>,
    },
    Start {
        force: bool,
        waiting: Waiting,
        reply: oneshot::Sender<Result<SandboxView, Error>>,
    },
    Pause(oneshot::Sender<Result<SandboxView, Error>>),
    Stop(oneshot::Sender<Result<SandboxView, Error>>),
    /// Go to disk if nobody uses it; whether it did.
    Relieve(oneshot::Sender<Result<bool, Error>>),
    Edit {
        edit: Box<EditSandbox>,
        reply: oneshot::Sender<Result<SandboxView, Error>>,
    },
    Checkpoint {
        snapshot: Box<SnapshotRow>,
        reply: oneshot::Sender<Result<SnapshotRow, Error>>,
    },
    Fork {
        point: ForkPoint,
        reply: oneshot::Sender<Result<Forked, Error>>,
    },
    Rollback {
        to: Box<SnapshotRow>,
        volumes: Vec<SavedVolume>,
        force: bool,
        reply: oneshot::Sender<Result<RolledBackView, Error>>,
    },
    Attach {
        volume: Box<Wanted>,
        reply: oneshot::Sender<Result<SandboxView, Error>>,
    },
    Detach {
        volume: VolumeId,
        reply: oneshot::Sender<Result<SandboxView, Error>>,
    },
    GrowVolume {
        volume: VolumeId,
        size: VolumeMb,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    CaptureVolume {
        volume: VolumeId,
        to: PathBuf,
        reply: oneshot::Sender<Result<(), Error>>,
    },
    /// Copy the disk to this file.
    SaveDisk {
        to: PathBuf,
        reply: oneshot::Sender<Result<SavedDisk, Error>>,
    },
    Destroy(oneshot::Sender<Result<(), Error>>),
}

impl Message {
    /// A request to wake that nobody waits for. What changes the sandbox is done all the same.
    pub(super) fn is_orphan(&self) -> bool {
        match self {
            Self::Wake { reply, .. } => reply.is_closed(),
            Self::Start { .. }
            | Self::Pause(_)
            | Self::Stop(_)
            | Self::Relieve(_)
            | Self::Edit { .. }
            | Self::Checkpoint { .. }
            | Self::Fork { .. }
            | Self::Rollback { .. }
            | Self::Attach { .. }
            | Self::Detach { .. }
            | Self::GrowVolume { .. }
            | Self::CaptureVolume { .. }
            | Self::SaveDisk { .. }
            | Self::Destroy(_) => false,
        }
    }
}

impl Handle {
    /// What the sandbox is now.
    pub(crate) fn now(&self) -> Published {
        self.published.borrow().clone()
    }

    /// Looks at what the sandbox is now. `look` is to be quick: a change waits for it.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&SandboxView) -> T) -> T {
        look(&self.published.borrow().view)
    }

    /// Whether it is being destroyed.
    pub(crate) fn is_going(&self) -> bool {
        self.published.borrow().view.status == Status::Destroying
    }

    /// Waits until it is no longer being made; `None` if it is gone.
    pub(crate) async fn made(&self) -> Option<SandboxView> {
        let mut published = self.published.clone();
        let made = published
            .wait_for(|now| now.view.status != Status::Creating)
            .await;
        made.ok().map(|now| now.view.clone())
    }

    /// Whether it has this name.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.published.borrow().view.name.as_str() == name
    }

    /// A lease of the running guest, which is woken if need be, within a time limit. The waking
    /// goes on if the limit is over.
    pub(crate) async fn lease(&self, what: &str, limit: Duration) -> Result<Lease, Error> {
        if let Some(lease) = self.leases.take(what) {
            return Ok(lease);
        }
        // Breaks off its going to sleep.
        let waiting = self.leases.wait();
        let reply = |reply| Message::Wake {
            what: what.to_owned(),
            waiting: waiting.share(),
            reply,
        };
        let woken = async {
            tokio::select! {
                biased;
                // The machine is let go on before its task has put away what it was writing.
                lease = self.leases.taken(what) => Ok(lease),
                result = self.ask(reply) => result,
            }
        };
        match tokio::time::timeout(limit, woken).await {
            Ok(result) => result,
            Err(_) => Err(Error::Busy {
                message: format!(
                    "sandbox {:?} did not wake in {} s",
                    self.now().view.name.as_str(),
                    limit.as_secs()
                ),
                retry_after: RETRY_AFTER,
            }),
        }
    }

    /// The link of a running guest, for what is no use of it.
    pub(crate) fn link(&self) -> Option<Link> {
        self.leases.link()
    }

    pub(crate) async fn start(&self, force: bool) -> Result<SandboxView, Error> {
        let waiting = self.leases.wait();
        let message = |reply| Message::Start {
            force,
            waiting: waiting.share(),
            reply,
        };
        self.ask(message).await
    }

    pub(crate) async fn pause(&self) -> Result<SandboxView, Error> {
        self.ask(Message::Pause).await
    }

    pub(crate) async fn stop(&self) -> Result<SandboxView, Error> {
        self.ask(Message::Stop).await
    }

    /// Has it go to disk if nobody uses it; whether it did.
    pub(crate) async fn relieve(&self) -> Result<bool, Error> {
        self.ask(Message::Relieve).await
    }

    pub(crate) async fn edit(&self, edit: EditSandbox) -> Result<SandboxView, Error> {
        let edit = Box::new(edit);
        self.ask(|reply| Message::Edit { edit, reply }).await
    }

    /// Why it is awake, and when it will not be.
    pub(crate) fn idle(&self) -> IdleView {
        let now = self.now();
        let (_, last_used) = self.leases.usage();
        IdleView::of(&now, self.leases.held(), last_used)
    }

    /// What there is to know when the host is short of memory.
    pub(crate) fn candidate<I>(&self, id: I) -> Candidate<I> {
        let now = self.published.borrow();
        let (leases, last_used) = self.leases.usage();
        Candidate {
            id,
            state: now.state(),
            leases,
            keep_hot: now.policy.keep_hot,
            last_used,
        }
    }

    pub(crate) async fn checkpoint(&self, snapshot: SnapshotRow) -> Result<SnapshotRow, Error> {
        let snapshot = Box::new(snapshot);
        self.ask(|reply| Message::Checkpoint { snapshot, reply })
            .await
    }

    pub(crate) async fn fork(&self, point: ForkPoint) -> Result<Forked, Error> {
        self.ask(|reply| Message::Fork { point, reply }).await
    }

    pub(crate) async fn rollback(
        &self,
        to: SnapshotRow,
        volumes: Vec<SavedVolume>,
        force: bool,
    ) -> Result<RolledBackView, Error> {
        let to = Box::new(to);
        self.ask(|reply| Message::Rollback {
            to,
            volumes,
            force,
            reply,
        })
        .await
    }

    /// Gives it a volume that is claimed and checked.
    pub(crate) async fn attach(&self, volume: Wanted) -> Result<SandboxView, Error> {
        let volume = Box::new(volume);
        self.ask(|reply| Message::Attach { volume, reply }).await
    }

    pub(crate) async fn detach(&self, volume: VolumeId) -> Result<SandboxView, Error> {
        self.ask(|reply| Message::Detach { volume, reply }).await
    }

    /// Makes a volume that it may write to larger.
    pub(crate) async fn grow_volume(&self, volume: VolumeId, size: VolumeMb) -> Result<(), Error> {
        self.ask(|reply| Message::GrowVolume {
            volume,
            size,
            reply,
        })
        .await
    }

    /// Copies a volume that it has, as it is at one moment.
    pub(crate) async fn capture_volume(&self, volume: VolumeId, to: PathBuf) -> Result<(), Error> {
        self.ask(|reply| Message::CaptureVolume { volume, to, reply })
            .await
    }

    /// Copies its disk to a file that is not there yet.
    pub(crate) async fn save_disk(&self, to: PathBuf) -> Result<SavedDisk, Error> {
        self.ask(|reply| Message::SaveDisk { to, reply }).await
    }

    pub(crate) async fn destroy(&self) -> Result<(), Error> {
        match self.ask(Message::Destroy).await {
            // It went away while the request waited: that is what was asked for.
            Err(Error::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Message,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let gone = || Error::NotFound {
            kind: Kind::Sandbox,
            name: self.now().view.name.to_string(),
        };
        let asked = Asked {
            message: message(reply),
            span: Span::current(),
        };
        self.requests.send(asked).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
