//! The task that owns one sandbox.
//!
//! Requests come in over a channel and are done one after another; what the sandbox is goes out
//! over a watch channel with a generation number. A command in a hot sandbox does not pass
//! through here: its link is published with the view.

use std::sync::Arc;

use bhatti_guest::link::Link;
use bhatti_lifecycle::decide::{Decision, Denied, Request, decide};
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::SnapshotRow;
use bhatti_types::id::{SandboxId, UserId};
use bhatti_types::name::SandboxName;
use bhatti_types::parent::Parent;
use bhatti_types::state::Status;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument as _, Span};

use super::directory::Directory;
use super::fork::Forked;
use super::work::{ForkPoint, Material, Work};
use crate::context::Context;
use crate::error::Error;
use crate::view::{RolledBackView, SandboxView};

/// Requests that may wait for one sandbox. More are made to wait at the sender.
const QUEUE: usize = 64;

/// What a sandbox is, as published.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// Grows with every change.
    pub(crate) generation: u64,
    /// What is shown.
    pub(crate) view: SandboxView,
    /// The agent link while it is hot.
    pub(crate) link: Option<Link>,
}

/// The way to a sandbox's task.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) id: SandboxId,
    pub(crate) user: UserId,
    pub(crate) name: SandboxName,
    requests: mpsc::Sender<Asked>,
    published: watch::Receiver<Published>,
}

/// A message, and the span of who sent it: the work is done in the task, and shown under the
/// request.
struct Asked {
    message: Message,
    span: Span,
}

enum Message {
    Wake(oneshot::Sender<Result<Link, Error>>),
    Start {
        force: bool,
        reply: oneshot::Sender<Result<SandboxView, Error>>,
    },
    Stop(oneshot::Sender<Result<SandboxView, Error>>),
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
        force: bool,
        reply: oneshot::Sender<Result<RolledBackView, Error>>,
    },
    Destroy(oneshot::Sender<Result<(), Error>>),
}

impl Message {
    /// A request to wake that nobody waits for. What changes the sandbox is done all the same.
    fn is_orphan(&self) -> bool {
        match self {
            Self::Wake(reply) => reply.is_closed(),
            Self::Start { .. }
            | Self::Stop(_)
            | Self::Checkpoint { .. }
            | Self::Fork { .. }
            | Self::Rollback { .. }
            | Self::Destroy(_) => false,
        }
    }
}

impl Handle {
    /// What the sandbox is now.
    pub(crate) fn now(&self) -> Published {
        self.published.borrow().clone()
    }

    /// What the sandbox is now, if it is `wanted`.
    pub(crate) fn view_if(&self, wanted: impl Fn(&SandboxView) -> bool) -> Option<SandboxView> {
        let now = self.published.borrow();
        wanted(&now.view).then(|| now.view.clone())
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

    /// A link to the running guest, which is woken if need be.
    pub(crate) async fn wake(&self) -> Result<Link, Error> {
        if let Some(link) = self.now().link
            && link.is_open()
        {
            return Ok(link);
        }
        self.ask(Message::Wake).await
    }

    pub(crate) async fn start(&self, force: bool) -> Result<SandboxView, Error> {
        self.ask(|reply| Message::Start { force, reply }).await
    }

    pub(crate) async fn stop(&self) -> Result<SandboxView, Error> {
        self.ask(Message::Stop).await
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
        force: bool,
    ) -> Result<RolledBackView, Error> {
        let to = Box::new(to);
        self.ask(|reply| Message::Rollback { to, force, reply })
            .await
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
            kind: crate::error::Kind::Sandbox,
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

/// Whether the sandbox is still there after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    GoesOn,
    Over,
}

/// A sandbox's task.
pub(crate) struct Actor {
    pub(super) work: Work,
    /// Until it is given away.
    handle: Option<Handle>,
    requests: mpsc::Receiver<Asked>,
    published: watch::Sender<Published>,
    directory: Arc<Directory>,
}

impl Actor {
    /// Makes the task for a recorded sandbox.
    pub(crate) fn new(work: Work, directory: Arc<Directory>) -> Self {
        let (sender, requests) = mpsc::channel(QUEUE);
        let first = Published {
            generation: 0,
            view: view(&work.row),
            link: None,
        };
        let (published, receiver) = watch::channel(first);
        let handle = Handle {
            id: work.row.id.clone(),
            user: work.row.user.clone(),
            name: work.row.name.clone(),
            requests: sender,
            published: receiver,
        };
        Self {
            work,
            handle: Some(handle),
            requests,
            published,
            directory,
        }
    }

    /// The way to this task. It ends by itself once nobody has one any more.
    pub(crate) fn take_handle(&mut self) -> Option<Handle> {
        self.handle.take()
    }

    /// Enters it in the directory.
    pub(crate) fn enter(&mut self) {
        if let Some(handle) = self.take_handle() {
            self.directory.insert(handle);
        }
    }

    /// Runs it as a task of the engine. If it panics, the sandbox is taken out of the directory;
    /// its machine runs on, and the next daemon takes it up.
    pub(crate) fn spawn<F>(self, run: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (ctx, directory, id) = (
            self.work.ctx.clone(),
            self.directory.clone(),
            self.work.row.id.clone(),
        );
        let task = tokio::spawn(run(self));
        ctx.tasks.spawn(async move {
            if let Err(error) = task.await {
                tracing::error!(sandbox = %id, %error, "the task of a sandbox broke down");
                directory.remove(&id);
            }
        });
    }

    /// Makes the sandbox by a plan, tells `made` how that went, and goes on if it went well. Only
    /// the plan belongs to the request that asked for it, by its span.
    pub(crate) async fn make(
        mut self,
        kind: PlanKind,
        material: Material,
        made: oneshot::Sender<Result<SandboxView, Error>>,
        asked_in: Span,
    ) {
        self.work.material = material;
        let result = self.work.run(kind).instrument(asked_in).await;
        self.work.material = Material::None;
        // In either case the caller may have gone away; the sandbox is there or not all the same.
        match result {
            Ok(()) => {
                self.publish();
                let _ = made.send(Ok(view(&self.work.row)));
                self.run().await;
            }
            Err(error) => {
                self.directory.remove(&self.work.row.id);
                let _ = made.send(Err(error));
            }
        }
    }

    /// Does requests until the sandbox is destroyed or the engine lets go of it.
    pub(crate) async fn run(mut self) {
        loop {
            let machine = self.work.machine.clone();
            let ended = async {
                match &machine {
                    Some(machine) => machine.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // First, so that no request is done on a machine that is gone.
                biased;
                log = ended => self.machine_ended(&log).await,
                message = self.requests.recv() => match message {
                    None => return,
                    Some(Asked { message, span }) => {
                        if self.handle(message).instrument(span).await == Life::Over {
                            return;
                        }
                    }
                },
            }
            self.publish();
        }
    }

    async fn handle(&mut self, message: Message) -> Life {
        // A caller that went away while its request waited has no use for a machine any more, nor
        // for the time it would take to find out that a guest is silent.
        if message.is_orphan() {
            return Life::GoesOn;
        }
        match message {
            Message::Wake(reply) => {
                let result = self.wake(Request::Wake).await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::Start { force, reply } => {
                let result = self.wake(Request::Start { force }).await;
                self.publish();
                let _ = reply.send(result.map(|_| view(&self.work.row)));
            }
            Message::Stop(reply) => {
                let result = self.decided(Request::Stop).await;
                self.publish();
                let _ = reply.send(result.map(|()| view(&self.work.row)));
            }
            Message::Checkpoint { snapshot, reply } => {
                let result = self.checkpoint(snapshot).await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::Fork { point, reply } => {
                let result = self.fork(point).await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::Rollback { to, force, reply } => {
                let result = self.rollback(*to, force).await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::Destroy(reply) => {
                let result = self.destroy().await;
                let over = result.is_ok();
                if over {
                    self.directory.remove(&self.work.row.id);
                }
                let _ = reply.send(result);
                if over {
                    return Life::Over;
                }
            }
        }
        Life::GoesOn
    }

    async fn wake(&mut self, request: Request) -> Result<Link, Error> {
        self.decided(request).await?;
        // Hot already, but the link was lost: its agent, or an earlier daemon, broke it off.
        if !self.work.link.as_ref().is_some_and(Link::is_open) {
            self.work.relink().await?;
        }
        self.work
            .link
            .clone()
            .ok_or_else(|| Error::internal("a hot sandbox has no link"))
    }

    async fn decided(&mut self, request: Request) -> Result<(), Error> {
        let kind = match decide(self.work.state(), request) {
            Decision::Already => return Ok(()),
            Decision::Deny(denied) => return Err(self.denied(denied)),
            Decision::Accept(kind) => kind,
        };
        match kind {
            PlanKind::Boot | PlanKind::Wake => {
                Context::admit_memory(self.work.row.memory)?;
            }
            PlanKind::Sleep => self.work.ctx.admit_disk(self.work.row.memory.bytes())?,
            _ => {}
        }
        // While a plan takes the machine away nobody gets its link.
        if kind == PlanKind::Sleep {
            self.unpublish_link();
        }
        let result = self.work.run(kind).await;
        if let Err(error) = &result {
            self.note_failure(kind, error).await;
        }
        result
    }

    /// Keeps what broke a start where its owner sees it.
    async fn note_failure(&mut self, kind: PlanKind, error: &Error) {
        let state = self.work.state();
        let noted = match kind {
            PlanKind::Wake if state == State::Cold => {
                let name = &self.work.row.name;
                self.work.row.reason = Some(format!(
                    "the last wake failed: {error}; `bhatti start --force {name}` boots from the \
                     disk without the sleeping memory"
                ));
                let failed = if is_damage(error) {
                    State::Failed
                } else {
                    State::Cold
                };
                self.work.commit(failed).await
            }
            PlanKind::Boot if state == State::Off => {
                self.work.row.reason = Some(format!("the last start failed: {error}"));
                self.work.commit(State::Off).await
            }
            _ => Ok(()),
        };
        if let Err(error) = noted {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a failure was not recorded"
            );
        }
    }

    pub(super) async fn checkpoint(
        &mut self,
        snapshot: Box<SnapshotRow>,
    ) -> Result<SnapshotRow, Error> {
        let kind = match decide(self.work.state(), Request::Checkpoint) {
            Decision::Accept(kind) => kind,
            Decision::Deny(denied) => {
                self.forget_snapshot(&snapshot).await?;
                return Err(self.denied(denied));
            }
            Decision::Already => {
                return Err(Error::internal("a checkpoint is never there already"));
            }
        };
        self.capture(kind, snapshot).await
    }

    /// Captures the sandbox into a recorded checkpoint.
    pub(super) async fn capture(
        &mut self,
        kind: PlanKind,
        mut snapshot: Box<SnapshotRow>,
    ) -> Result<SnapshotRow, Error> {
        snapshot.accelerator.clone_from(&self.work.row.accelerator);
        self.work.material = Material::Snapshot(snapshot);
        let result = self.work.run(kind).await;
        let material = std::mem::replace(&mut self.work.material, Material::None);
        result?;
        match material {
            Material::Snapshot(snapshot) => Ok(*snapshot),
            Material::None | Material::Image(_) | Material::Saved(_) | Material::Fork(_) => {
                Err(Error::internal("the checkpoint was lost on the way"))
            }
        }
    }

    async fn forget_snapshot(&self, snapshot: &SnapshotRow) -> Result<(), Error> {
        let id = snapshot.id.clone();
        self.work
            .ctx
            .db(move |store| store.snapshot_delete(&id))
            .await
    }

    async fn destroy(&mut self) -> Result<(), Error> {
        // Its name is free from now on, and nobody gets its link.
        self.published.send_modify(|now| {
            now.generation += 1;
            (now.view.status, now.view.thermal) = State::Destroying.shown();
            now.link = None;
        });
        self.work.run(PlanKind::Destroy).await
    }

    /// The VMM is gone and nobody here ended it.
    async fn machine_ended(&mut self, log: &str) {
        tracing::warn!(sandbox = %self.work.row.id, log, "the machine ended by itself");
        self.work.machine = None;
        self.work.link = None;
        if !self.work.state().has_machine() {
            // It was to be ended, and its memory is safe or given up already.
            return;
        }
        self.work.row.reason = Some(
            "the machine ended by itself (powered off from inside, or its VMM was killed); \
             it boots from its disk at the next start"
                .to_owned(),
        );
        if let Err(error) = self.work.commit(State::Off).await {
            // A record that says hot and has no process is repaired at the next start; until then
            // it is off in memory.
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "its end was not recorded"
            );
            (self.work.row.status, self.work.row.thermal) = State::Off.shown();
        }
    }

    pub(super) fn denied(&self, denied: Denied) -> Error {
        let name = &self.work.row.name;
        Error::Conflict {
            message: format!("sandbox {:?} {denied}", name.as_str()),
            hint: match denied {
                Denied::Failed => Some(format!(
                    "`bhatti start --force {name}` boots it from its disk; its memory is lost"
                )),
                Denied::NoMemory => Some(format!("start it first: `bhatti start {name}`")),
                Denied::NotKept => {
                    Some("start it first, or give up what is on its disk with `--force`".to_owned())
                }
                Denied::BeingCreated | Denied::BeingDestroyed => None,
            },
        }
    }

    pub(super) fn publish(&self) {
        let (view, link) = (view(&self.work.row), self.work.link.clone());
        self.published.send_modify(|now| {
            *now = Published {
                generation: now.generation + 1,
                view,
                link,
            };
        });
    }

    pub(super) fn unpublish_link(&self) {
        self.published.send_modify(|now| {
            now.generation += 1;
            now.link = None;
        });
    }
}

fn is_damage(error: &Error) -> bool {
    use std::error::Error as _;
    error
        .source()
        .and_then(|source| source.downcast_ref::<crate::checkpoint::ImageError>())
        .is_some()
}

/// What is shown of a record.
pub(crate) fn view(row: &SandboxRow) -> SandboxView {
    SandboxView {
        id: row.id.clone(),
        user: row.user.clone(),
        name: row.name.clone(),
        status: row.status,
        thermal: row.thermal,
        reason: row.reason.clone(),
        engine: row.engine.clone(),
        accelerator: row.accelerator.clone(),
        cpus: row.cpus,
        memory: row.memory,
        disk: row.disk,
        image: row.image.clone(),
        labels: row.labels.clone(),
        run_as: row.run_as.clone(),
        resumed_from: row.resumed_from.clone(),
        forked_from: match &row.parent {
            Some(Parent::Sandbox(id)) => Some(id.clone()),
            Some(Parent::Snapshot(_)) | None => None,
        },
        created_at: row.created_at,
        stopped_at: row.stopped_at,
    }
}
