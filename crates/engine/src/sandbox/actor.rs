//! The task that owns one sandbox.
//!
//! Requests come in over a channel and are done one after another; what the sandbox is goes out
//! over a watch channel with a generation number. A command in a hot sandbox does not pass
//! through here: it takes a lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bhatti_guest::link::Link;
use bhatti_lifecycle::decide::{Decision, Denied, Request, decide};
use bhatti_lifecycle::idle::Idle;
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_store::attachment::AttachedVolume;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::SnapshotRow;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Instrument as _, Span};

use super::directory::Directory;
use super::halted::halted;
use super::handle::{Asked, Handle, Message, Published, QUEUE};
use super::leases::Lease;
use super::work::{Material, Work};
use crate::error::Error;
use crate::view::{AttachedView, SandboxView};

/// Whether the sandbox is still there after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    GoesOn,
    Over,
}

/// A sandbox's task.
pub(crate) struct Actor {
    pub(crate) work: Work,
    /// Until it is given away.
    handle: Option<Handle>,
    requests: mpsc::Receiver<Asked>,
    published: watch::Sender<Published>,
    directory: Arc<Directory>,
    /// Idleness changes nothing before this.
    pub(super) idle_not_before: Option<Instant>,
    /// When its VMM's use of the processor began to be watched, and how much it was.
    pub(super) cpu_watch: Option<(Instant, Duration)>,
}

impl Actor {
    /// Makes the task for a recorded sandbox.
    pub(crate) fn new(work: Work, directory: Arc<Directory>) -> Self {
        let (sender, requests) = mpsc::channel(QUEUE);
        let first = Published {
            generation: 0,
            view: work.view(),
            policy: work.policy(),
            paused_at: None,
        };
        let (published, receiver) = watch::channel(first);
        let handle = Handle {
            id: work.row.id.clone(),
            user: work.row.user.clone(),
            requests: sender,
            published: receiver,
            leases: work.leases.clone(),
        };
        Self {
            work,
            handle: Some(handle),
            requests,
            published,
            directory,
            idle_not_before: None,
            cpu_watch: None,
        }
    }

    /// What it works on, if it is not to be run after all.
    pub(crate) fn into_work(self) -> Work {
        self.work
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
        let result = self.work.make(kind, material).instrument(asked_in).await;
        // In either case the caller may have gone away; the sandbox is there or not all the same.
        match result {
            Ok(()) => {
                self.publish();
                let _ = made.send(Ok(self.work.view()));
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
        let mut policies = self.work.ctx.policies.watch();
        let leases = self.work.leases.clone();
        loop {
            // Before anything is looked at, so that no change is missed.
            let changed = leases.changed();
            let (idle, timer) = (self.idle(), self.timer());
            let machine = self.work.machine.clone();
            let halted = halted(self.work.state(), machine.clone());
            let try_again = self.wait_to_try_again();
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
                halt = halted => self.has_halted(halt).await,
                message = self.requests.recv() => match message {
                    None => return,
                    Some(Asked { message, span }) => {
                        if self.handle(message).instrument(span).await == Life::Over {
                            return;
                        }
                    }
                },
                () = timer => self.timer_is_due().await,
                () = try_again => self.try_again().await,
                () = at(idle) => self.is_idle(idle).await,
                // What it waits for is looked at anew.
                () = changed => continue,
                _ = policies.changed() => {}
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
            Message::Wake {
                what,
                waiting,
                reply,
            } => {
                let result = self.lease(&what).await;
                drop(waiting);
                let _ = reply.send(result);
            }
            Message::Start {
                force,
                waiting,
                reply,
            } => {
                let result = self.wake(Request::Start { force }).await;
                self.publish();
                drop(waiting);
                let _ = reply.send(result.map(|()| self.work.view()));
            }
            Message::Pause(reply) => {
                let result = self.pause().await;
                self.publish();
                let _ = reply.send(result.map(|()| self.work.view()));
            }
            Message::Stop(reply) => {
                let result = self.decided(Request::Stop).await;
                self.publish();
                let _ = reply.send(result.map(|()| self.work.view()));
            }
            Message::Relieve(reply) => {
                let result = self.relieve().await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::Edit { edit, reply } => {
                let result = self.edit(*edit).await;
                self.publish();
                let _ = reply.send(result.map(|()| self.work.view()));
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
            Message::Rollback {
                to,
                volumes,
                force,
                reply,
            } => {
                let result = self.rollback(*to, volumes, force).await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::Attach { volume, reply } => {
                let result = self.attach(*volume).await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::Detach { volume, reply } => {
                let result = self.detach(&volume).await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::GrowVolume {
                volume,
                size,
                reply,
            } => {
                let result = self.grow_volume(&volume, size).await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::CaptureVolume { volume, to, reply } => {
                let result = self.capture_volume(&volume, to).await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::SaveDisk { to, reply } => {
                let result = self.save_disk(to).await;
                self.publish();
                let _ = reply.send(result);
            }
            Message::Destroy(reply) => {
                let result = self.destroy().await;
                // Without a record it is gone, however an earlier destroy said it ended.
                let over = matches!(result, Ok(()) | Err(Error::NotFound { .. }));
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

    /// A lease of it, woken if need be.
    async fn lease(&mut self, what: &str) -> Result<Lease, Error> {
        self.wake(Request::Wake).await?;
        self.publish();
        self.work
            .leases
            .take(what)
            .ok_or_else(|| Error::internal("the link of a hot sandbox broke at once"))
    }

    pub(super) async fn wake(&mut self, request: Request) -> Result<(), Error> {
        self.decided(request).await?;
        // Hot already, but the link was lost: its agent, or an earlier daemon, broke it off.
        if !self.work.link.as_ref().is_some_and(Link::is_open) {
            self.work.relink().await?;
        }
        Ok(())
    }

    /// Decides a request and does it.
    pub(super) async fn decided(&mut self, request: Request) -> Result<(), Error> {
        let kind = match decide(self.work.state(), request) {
            Decision::Already => return Ok(()),
            Decision::Deny(denied) => return Err(self.denied(denied)),
            Decision::Accept(kind) => kind,
        };
        let _room = match kind {
            PlanKind::Boot | PlanKind::Wake => {
                self.work.ctx.refuse_if_going_down()?;
                let memory = self.work.row.memory;
                Some(self.work.ctx.admission.room(memory, None).await?)
            }
            PlanKind::Sleep => {
                let memory = self.work.row.memory.bytes();
                self.work.ctx.room_on_disk(memory).await?;
                None
            }
            _ => None,
        };
        if matches!(kind, PlanKind::Sleep | PlanKind::Cool) {
            self.work.ask_timers().await;
            // While a plan takes the machine away nobody gets its link.
            self.work.leases.close();
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

    async fn checkpoint(&mut self, snapshot: Box<SnapshotRow>) -> Result<SnapshotRow, Error> {
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
            _ => Err(Error::internal("the checkpoint was lost on the way")),
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
        self.work.leases.close();
        self.published.send_modify(|now| {
            now.generation += 1;
            (now.view.status, now.view.thermal) = State::Destroying.shown();
        });
        self.work.settle_volumes().await;
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

    pub(super) fn refuse_if_going(&self) -> Result<(), Error> {
        match self.work.state() {
            State::Destroying => Err(self.denied(Denied::BeingDestroyed)),
            _ => Ok(()),
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

    /// Shows what it is now, and lets leases be taken while it is hot.
    pub(super) fn publish(&self) {
        match &self.work.link {
            Some(link) if self.work.state() == State::Hot => self.work.leases.open(link.clone()),
            _ => self.work.leases.close(),
        }
        let (view, policy) = (self.work.view(), self.work.policy());
        let paused_at = self.work.warm_since();
        self.published.send_modify(|now| {
            *now = Published {
                generation: now.generation + 1,
                view,
                policy,
                paused_at,
            };
        });
    }
}

/// Waits until idleness changes something.
async fn at(idle: Idle) {
    match idle {
        Idle::Pause(at) | Idle::Sleep(at) => tokio::time::sleep_until(at.into()).await,
        Idle::Stays(_) => std::future::pending().await,
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
pub(crate) fn view(row: &SandboxRow, volumes: &[AttachedVolume]) -> SandboxView {
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
        created_at: row.created_at,
        stopped_at: row.stopped_at,
        idle: row.idle,
        used_at: row.used_at,
        wake_at: row.wake_at,
        parent: row.parent.clone(),
        address: row.address,
        egress: row.egress.clone(),
        volumes: volumes.iter().map(AttachedView::of).collect(),
        init: row.init,
        run: row.run.clone(),
    }
}
