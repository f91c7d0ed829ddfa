//! The facade: one method for each request of a user.

use std::sync::Arc;
use std::time::Duration;

use bhatti_guest::exec::{Command, Exec};
use bhatti_host::extents::Usage;
use bhatti_host::facts;
use bhatti_host::lock::{DirLock, LockError};
use bhatti_image::catalog::Catalog;
use bhatti_image::kit::KitStore;
use bhatti_lifecycle::limits::SandboxLimits;
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::store::Store;
use bhatti_store::user::{LOCAL_NAME, UserRow, local_id};
use bhatti_types::id::SandboxId;
use bhatti_types::idle::IdleSettings;
use bhatti_types::labels::Labels;
use bhatti_types::name::{ImageName, SandboxName, SnapshotName, UserName};
use bhatti_types::parent::Parent;
use bhatti_types::secret::Token;
use bhatti_vmm::machine::Vmm;
use bhatti_vmm::qemu::launcher::Qemu;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::accelerator::Accelerators;
use crate::admission::{Admission, ThisHost};
use crate::config::EngineConfig;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::layout::Layout;
use crate::policies::Policies;
use crate::request::{Caller, EditSandbox, IdleEdit, NewExec, NewSandbox, NewUser, Role};
use crate::sandbox::actor::Actor;
use crate::sandbox::directory::Directory;
use crate::sandbox::handle::Handle;
use crate::sandbox::leases::Lease;
use crate::sandbox::work::{Material, Saved, Trust, Work};
use crate::view::{
    AwakeView, Created, DetachedView, HostView, IdleView, ImageView, RolledBackView, SandboxView,
    SleepAllView, SnapshotView, UserView,
};
use crate::{naming, recovery, storage};

/// How often a made-up name is tried before giving up.
const NAME_TRIES: u32 = 16;

/// The running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) ctx: Arc<Context>,
    pub(crate) directory: Arc<Directory>,
    wake_limit: Duration,
    /// Held for as long as the engine is there.
    _lock: Arc<DirLock>,
}

impl Engine {
    /// Opens the data directory, repairs what an earlier daemon left half done, and adopts the
    /// machines that are still running.
    pub async fn open(config: EngineConfig) -> Result<Self, Error> {
        let vmm = Arc::new(Qemu::new(config.qemu.clone()));
        Self::open_with(config, vmm).await
    }

    /// [`Engine::open`] over a given VMM.
    pub async fn open_with(config: EngineConfig, vmm: Arc<dyn Vmm>) -> Result<Self, Error> {
        let layout = Layout::new(config.data_dir);
        let lock = DirLock::take(layout.root()).map_err(|error| match error {
            LockError::Held => Error::Unavailable {
                message: error.to_string(),
                hint: Some("stop it, or use another `--data-dir`".to_owned()),
            },
            LockError::Io(_) => Error::internal(error),
        })?;
        let storage = storage::open(&layout, config.storage).await?;
        let layout = layout.with_storage(storage.root().to_owned());
        let prepared = layout.clone();
        let (data_dir, store) = Context::blocking(move || {
            let id = recovery::prepare(&prepared).map_err(Error::internal)?;
            Ok::<_, Error>((id, Store::open(&prepared.database())?))
        })
        .await??;
        let kits = KitStore::open(layout.kits())?;
        let images = Catalog::open(layout.images())?;
        let accelerators = Accelerators::new(config.accelerator);
        let directory = Arc::new(Directory::default());
        let admission = Admission::new(Box::new(ThisHost), &directory);
        let boot = facts::boot_id().map_err(Error::internal)?;
        let ctx = Arc::new(Context::new(
            layout,
            storage,
            data_dir,
            store,
            vmm,
            kits,
            images,
            accelerators,
            config.faults,
            (config.max_templates, config.pool),
            admission,
            Policies::new(config.idle),
            boot,
        ));
        ctx.load_policies().await?;
        ctx.take_images().await?;
        recovery::recover(&ctx, &directory).await?;
        // No process works in their directories any more.
        ctx.open_templates().await?;
        let engine = Self {
            ctx,
            directory,
            wake_limit: config.wake_limit,
            _lock: Arc::new(lock),
        };
        engine.probe_early();
        engine.ctx.keep_stock();
        engine.watch_memory();
        engine.watch_storage();
        engine.wake_kept_hot();
        Ok(engine)
    }

    /// Looks for the accelerator before the first create has to wait for it.
    fn probe_early(&self) {
        let Ok(kit) = self.ctx.kits.current() else {
            return;
        };
        let ctx = self.ctx.clone();
        self.ctx.tasks.spawn(async move {
            let found = ctx.accelerator(&kit).await;
            // Every create needs that too.
            if let Err(error) = ctx.engine_version().await.and(found) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the accelerator could not be looked for"
                );
            }
        });
    }

    /// Looks after the host's memory until the engine is closed.
    fn watch_memory(&self) {
        let ctx = self.ctx.clone();
        self.ctx.tasks.spawn(async move {
            ctx.closing.run_until_cancelled(ctx.admission.watch()).await;
        });
    }

    /// Looks after the room for machines' files until the engine is closed.
    fn watch_storage(&self) {
        let ctx = self.ctx.clone();
        self.ctx.tasks.spawn(async move {
            ctx.closing
                .run_until_cancelled(storage::watch(ctx.storage.clone()))
                .await;
        });
    }

    /// Wakes what is to be kept hot and sleeps, because the host was restarted.
    fn wake_kept_hot(&self) {
        for handle in self.directory.all() {
            let now = handle.now();
            if !now.policy.keep_hot || now.state() != State::Cold {
                continue;
            }
            self.ctx.tasks.spawn(async move {
                if let Err(error) = handle.start(false, None).await {
                    tracing::warn!(
                        sandbox = %handle.id,
                        error = &error as &dyn std::error::Error,
                        "a sandbox that is to be kept hot was not woken"
                    );
                }
            });
        }
    }

    /// Lets running work finish and lets go of the machines, which stay as they are.
    pub async fn close(&self) {
        self.ctx.closing.cancel();
        self.directory.close();
        self.ctx.tasks.close();
        self.ctx.tasks.wait().await;
    }

    /// The built-in user of the unix socket.
    #[expect(clippy::missing_panics_doc, reason = "the constant is well formed")]
    pub fn local_admin(&self) -> Caller {
        Caller {
            user: local_id(),
            name: LOCAL_NAME
                .parse()
                .expect("the built-in name is well formed"),
            role: Role::Admin,
        }
    }

    /// The user a token belongs to; `None` if it is nobody's.
    pub async fn authenticate(&self, token: &Token) -> Result<Option<Caller>, Error> {
        self.ctx.authenticate(token).await
    }

    /// What the daemon says of itself.
    pub async fn host(&self) -> Result<HostView, Error> {
        let kits = self.ctx.kits.clone();
        let kit = Context::blocking(move || kits.current()).await?.ok();
        Ok(HostView {
            kit: kit.map(|kit| kit.id.to_string()),
            accelerator: self
                .ctx
                .accelerators
                .known()
                .map(|found| found.as_str().to_owned()),
            storage: self.ctx.storage_view()?,
        })
    }

    /// Makes a sandbox, or gives the one that has the name already.
    pub async fn sandbox_create(&self, caller: &Caller, new: NewSandbox) -> Result<Created, Error> {
        let (engine, caller) = (self.clone(), caller.clone());
        self.owned(async move {
            if let Some(existing) = engine.existing(&caller, new.name.as_ref()).await {
                return Ok(Created {
                    sandbox: existing,
                    existing: true,
                });
            }
            let name = new.name.clone();
            match engine.create(&caller, new).await {
                Ok(sandbox) => Ok(Created {
                    sandbox,
                    existing: false,
                }),
                // Another create of the same name came first, between the look and the insert.
                Err(Error::Exists { kind, name: taken }) => {
                    match engine.existing(&caller, name.as_ref()).await {
                        Some(sandbox) => Ok(Created {
                            sandbox,
                            existing: true,
                        }),
                        None => Err(Error::Exists { kind, name: taken }),
                    }
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// The caller's sandbox of that name, once it is made.
    async fn existing(&self, caller: &Caller, name: Option<&SandboxName>) -> Option<SandboxView> {
        self.directory
            .by_name(&caller.user, name?.as_str())?
            .made()
            .await
    }

    /// Records a new sandbox and has its task make it.
    pub(crate) async fn make(
        &self,
        user: &UserRow,
        row: SandboxRow,
        kind: PlanKind,
        material: Material,
    ) -> Result<SandboxView, Error> {
        let work = Work::new(self.ctx.clone(), row, None);
        let made = self.make_of(user, work, kind, material).await;
        made.map_err(|not_made| not_made.error)
    }

    /// [`Engine::make`] of what may have a machine already.
    pub(crate) async fn make_of(
        &self,
        user: &UserRow,
        work: Work,
        kind: PlanKind,
        material: Material,
    ) -> Result<SandboxView, NotMade> {
        let (recorded, limit) = (work.row.clone(), user.max_sandboxes);
        let mut actor = Actor::new(work, self.directory.clone());
        let (handle, directory) = (actor.take_handle(), self.directory.clone());
        let id = recorded.id.clone();
        // Entered in the directory within the transaction, so that another create of the same name
        // finds the one it lost to.
        let inserted = self.ctx.db(move |store| {
            store.write(|txn| {
                txn.sandbox_insert(&recorded, limit)?;
                if let Some(handle) = handle {
                    directory.insert(handle);
                }
                Ok(())
            })
        });
        if let Err(error) = inserted.await {
            self.directory.remove(&id);
            let unused = Some(Box::new(actor.into_work()));
            return Err(NotMade { error, unused });
        }
        let (made, result) = oneshot::channel();
        let span = tracing::Span::current();
        actor.spawn(|actor| actor.make(kind, material, made, span));
        let result = result.await.map_err(Error::internal);
        result.and_then(|made| made).map_err(|error| NotMade {
            error,
            unused: None,
        })
    }

    pub(crate) fn free_name(&self, caller: &Caller) -> Result<SandboxName, Error> {
        let mut random = [0u8; 3];
        for _ in 0..NAME_TRIES {
            getrandom::fill(&mut random).map_err(Error::internal)?;
            let name = naming::name(random);
            if self
                .directory
                .by_name(&caller.user, name.as_str())
                .is_none()
            {
                return Ok(name);
            }
        }
        Err(Error::internal("no free name was found"))
    }

    /// The caller's sandboxes that carry `labels`, by name.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn sandbox_list(
        &self,
        caller: &Caller,
        labels: &Labels,
    ) -> Result<Vec<SandboxView>, Error> {
        let wanted = |view: &SandboxView| view.labels.matches(labels);
        let mut views = self.directory.views_of_user(&caller.user, wanted);
        views.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    /// One sandbox, by name or id.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn sandbox_get(&self, caller: &Caller, key: &str) -> Result<SandboxView, Error> {
        Ok(self.find(caller, key)?.now().view)
    }

    /// What a sandbox's files take on disk now: its disk, and its memory if it sleeps or was made
    /// from a checkpoint. `None` if it can't be told.
    pub async fn sandbox_usage(&self, caller: &Caller, key: &str) -> Result<Option<Usage>, Error> {
        let id = self.find(caller, key)?.id.clone();
        let usages = Context::usages(vec![self.ctx.layout.sandbox(&id)]).await?;
        Ok(usages.into_iter().next().flatten())
    }

    /// The same of several sandboxes that [`Engine::sandbox_list`] gave, in their order.
    pub async fn sandbox_usages(&self, views: &[SandboxView]) -> Result<Vec<Option<Usage>>, Error> {
        let dirs = views.iter().map(|view| self.ctx.layout.sandbox(&view.id));
        Context::usages(dirs.collect()).await
    }

    /// Why a sandbox is awake, and when it will not be.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn sandbox_idle(&self, caller: &Caller, key: &str) -> Result<IdleView, Error> {
        Ok(self.find(caller, key)?.idle())
    }

    /// Changes what its owner may change of a sandbox.
    pub async fn sandbox_edit(
        &self,
        caller: &Caller,
        key: &str,
        edit: EditSandbox,
    ) -> Result<SandboxView, Error> {
        let handle = self.find(caller, key)?;
        self.owned(async move { handle.edit(edit).await }).await
    }

    /// Pauses a sandbox's vCPUs; the next request lets them go on.
    pub async fn sandbox_pause(&self, caller: &Caller, key: &str) -> Result<SandboxView, Error> {
        let handle = self.find(caller, key)?;
        self.owned(async move { handle.pause().await }).await
    }

    /// Puts all machines of all users to disk, side by side, within a time limit. With
    /// `going_down` none is started after it, until there is another daemon.
    pub async fn sleep_all(
        &self,
        limit: Duration,
        going_down: bool,
    ) -> Result<SleepAllView, Error> {
        if going_down {
            self.ctx.go_down();
        }
        let engine = self.clone();
        self.owned(async move { Ok(sleep_all(&engine.directory.all(), limit).await) })
            .await
    }

    /// Takes a sandbox away.
    pub async fn sandbox_destroy(&self, caller: &Caller, key: &str) -> Result<(), Error> {
        let handle = self.find(caller, key)?;
        self.owned(async move { handle.destroy().await }).await
    }

    /// Puts a sandbox to disk, memory and all.
    pub async fn sandbox_stop(&self, caller: &Caller, key: &str) -> Result<SandboxView, Error> {
        let handle = self.find(caller, key)?;

        self.owned(async move { handle.stop().await }).await
    }

    /// Wakes a sandbox; `force` gives up its memory and boots from the disk; `wait` is how long
    /// to wait for room in the host's memory.
    pub async fn sandbox_start(
        &self,
        caller: &Caller,
        key: &str,
        force: bool,
        wait: Option<Duration>,
    ) -> Result<SandboxView, Error> {
        let handle = self.find(caller, key)?;
        self.owned(async move { handle.start(force, wait).await })
            .await
    }

    /// Runs a command, waking the sandbox if need be. Dropping the [`Exec`] kills the command;
    /// the sandbox stays hot until the [`Lease`] is dropped.
    pub async fn exec(
        &self,
        caller: &Caller,
        key: &str,
        exec: NewExec,
    ) -> Result<(Exec, Lease), Error> {
        let program = exec.argv.first().map_or("", String::as_str);
        let lease = self
            .awake(caller, key, &format!("exec {}", shortened(program)))
            .await?;
        let start = tracing::debug_span!("start-command");
        let exec = lease.link.exec(&command(exec)).instrument(start).await?;
        Ok((exec, lease))
    }

    /// A lease of a sandbox, which is woken if need be.
    async fn awake(&self, caller: &Caller, key: &str, what: &str) -> Result<Lease, Error> {
        let handle = self.find(caller, key)?;
        let wake = tracing::debug_span!("wake");
        handle.lease(what, self.wake_limit).instrument(wake).await
    }

    /// Starts a command and leaves it running. It does not keep the sandbox hot.
    pub async fn exec_detached(
        &self,
        caller: &Caller,
        key: &str,
        exec: NewExec,
        output_file: Option<String>,
    ) -> Result<DetachedView, Error> {
        let lease = self.awake(caller, key, "exec --detach").await?;
        let detached = lease
            .link
            .exec_detached(&command(exec), output_file.as_deref())
            .await?;
        Ok(DetachedView {
            pid: detached.pid,
            output_file: detached.output_file,
        })
    }

    /// Takes a checkpoint of a sandbox; one that runs goes on.
    pub async fn snapshot_create(
        &self,
        caller: &Caller,
        key: &str,
        name: SnapshotName,
    ) -> Result<SnapshotView, Error> {
        let handle = self.find(caller, key)?;
        let (ctx, caller) = (self.ctx.clone(), caller.clone());
        self.owned(async move { ctx.snapshot_create(&caller, &handle, name).await })
            .await
    }

    /// The caller's checkpoints, oldest first.
    pub async fn snapshot_list(&self, caller: &Caller) -> Result<Vec<SnapshotView>, Error> {
        self.ctx.snapshot_list(&caller.user).await
    }

    /// One checkpoint.
    pub async fn snapshot_get(
        &self,
        caller: &Caller,
        name: &SnapshotName,
    ) -> Result<SnapshotView, Error> {
        self.ctx.snapshot_get(&caller.user, name).await
    }

    /// Deletes a checkpoint; sandboxes resumed from it go on.
    pub async fn snapshot_delete(&self, caller: &Caller, name: &SnapshotName) -> Result<(), Error> {
        let (ctx, user, name) = (self.ctx.clone(), caller.user.clone(), name.clone());
        self.owned(async move { ctx.snapshot_delete(&user, &name).await })
            .await
    }

    /// Makes a new sandbox that goes on from a checkpoint.
    pub async fn snapshot_resume(
        &self,
        caller: &Caller,
        name: &SnapshotName,
        sandbox: Option<SandboxName>,
    ) -> Result<SandboxView, Error> {
        let (engine, caller, name) = (self.clone(), caller.clone(), name.clone());
        self.owned(async move { engine.resume(&caller, &name, sandbox).await })
            .await
    }

    async fn resume(
        &self,
        caller: &Caller,
        name: &SnapshotName,
        sandbox: Option<SandboxName>,
    ) -> Result<SandboxView, Error> {
        let user = self.ctx.user_row(&caller.user).await?;
        let snapshot = self.ctx.snapshot_row(&caller.user, name).await?;
        limits(&user).check(snapshot.cpus, snapshot.memory)?;
        self.ctx.refuse_if_going_down()?;
        let _room = self.ctx.admission.room(snapshot.memory, None).await?;
        self.ctx.room_on_disk(snapshot.disk_bytes).await?;
        let row = SandboxRow {
            id: SandboxId::random(),
            user: caller.user.clone(),
            name: match sandbox {
                Some(name) => name,
                None => self.free_name(caller)?,
            },
            status: State::Creating.shown().0,
            thermal: State::Creating.shown().1,
            reason: None,
            image: snapshot.image.clone(),
            cpus: snapshot.cpus,
            memory: snapshot.memory,
            disk: snapshot.disk,
            env: snapshot.env.clone(),
            labels: snapshot.labels.clone(),
            run_as: snapshot.run_as.clone(),
            workdir: snapshot.workdir.clone(),
            kit: snapshot.kit.clone(),
            engine: snapshot.engine.clone(),
            accelerator: snapshot.accelerator.clone(),
            resumed_from: Some(snapshot.name.clone()),
            machine: None,
            created_at: Timestamp::now(),
            stopped_at: None,
            idle: IdleSettings::default(),
            used_at: None,
            wake_at: None,
            parent: Some(Parent::Snapshot(snapshot.id.clone())),
        };
        let material = Material::Saved(Saved {
            dir: self.ctx.layout.snapshot(&snapshot.id),
            trust: Trust::Manifest,
            accelerator: snapshot.accelerator.clone(),
            snapshot: Some(snapshot.id),
        });
        match self.make(&user, row, PlanKind::Resume, material).await {
            Ok(sandbox) => Ok(sandbox),
            // Deleted meanwhile: that is why it failed.
            Err(error) => match self.ctx.snapshot_row(&caller.user, name).await {
                Err(gone @ Error::NotFound { .. }) => Err(gone),
                Ok(_) | Err(_) => Err(error),
            },
        }
    }

    /// Puts a sandbox back to one of its checkpoints, in place. What it is now is kept as an
    /// automatic checkpoint; `force` also if there is no memory to keep.
    pub async fn sandbox_rollback(
        &self,
        caller: &Caller,
        key: &str,
        to: SnapshotName,
        force: bool,
    ) -> Result<RolledBackView, Error> {
        let handle = self.find(caller, key)?;
        let (ctx, caller) = (self.ctx.clone(), caller.clone());
        self.owned(async move { ctx.rollback(&caller, &handle, &to, force).await })
            .await
    }

    /// Images the caller may use.
    pub async fn image_list(&self, _caller: &Caller) -> Result<Vec<ImageView>, Error> {
        self.ctx.image_list().await
    }

    /// One image.
    pub async fn image_get(&self, _caller: &Caller, name: &ImageName) -> Result<ImageView, Error> {
        self.ctx.image_get(name).await
    }

    /// Makes a user and its token.
    pub async fn user_create(&self, new: NewUser) -> Result<(UserView, Token), Error> {
        self.ctx.user_create(new).await
    }

    /// All users but the built-in one.
    pub async fn user_list(&self) -> Result<Vec<UserView>, Error> {
        self.ctx.user_list().await
    }

    /// One user.
    pub async fn user_get(&self, name: &UserName) -> Result<UserView, Error> {
        self.ctx.user_get(name).await
    }

    /// Changes what a user's sandboxes do when idle, at once.
    pub async fn user_edit(&self, name: &UserName, idle: IdleEdit) -> Result<UserView, Error> {
        self.ctx.user_edit(name, idle).await
    }

    /// Deletes a user that has nothing left.
    pub async fn user_delete(&self, name: &UserName) -> Result<(), Error> {
        self.ctx.user_delete(name).await
    }

    /// Gives a user a new token; the old one is void at once.
    pub async fn user_rotate_key(&self, name: &UserName) -> Result<Token, Error> {
        self.ctx.user_rotate_key(name).await
    }

    pub(crate) fn find(&self, caller: &Caller, key: &str) -> Result<Handle, Error> {
        self.directory
            .find(&caller.user, key)
            .ok_or_else(|| Error::NotFound {
                kind: Kind::Sandbox,
                name: shortened(key),
            })
    }

    /// Runs a request to its end even if its caller goes away.
    pub(crate) async fn owned<T: Send + 'static>(
        &self,
        request: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        if self.ctx.tasks.is_closed() {
            return Err(Error::Stopping);
        }
        self.ctx
            .tasks
            .spawn(request.in_current_span())
            .await
            .map_err(Error::internal)?
    }
}

/// Puts all of them to disk, and tells of those that are not there in time.
async fn sleep_all(handles: &[Handle], limit: Duration) -> SleepAllView {
    let awake = |handle: &Handle, reason: String| AwakeView {
        user: handle.user.clone(),
        name: handle.now().view.name,
        reason,
    };
    let until = tokio::time::Instant::now() + limit;
    let sleeping = handles
        .iter()
        .filter(|handle| handle.now().state().has_machine())
        .map(async |handle| {
            let stopped = tokio::time::timeout_at(until, handle.stop()).await;
            (handle, stopped)
        });
    let mut all = SleepAllView::default();
    for (handle, stopped) in futures::future::join_all(sleeping).await {
        match stopped {
            Ok(Ok(_)) => all.asleep += 1,
            Ok(Err(Error::NotFound { .. })) => {}
            Ok(Err(error)) => all.awake.push(awake(handle, error.to_string())),
            Err(_) => {
                let reason = format!("did not finish in {} s", limit.as_secs());
                all.awake.push(awake(handle, reason));
            }
        }
    }
    all
}

/// A sandbox that was not made.
pub(crate) struct NotMade {
    pub(crate) error: Error,
    /// What it was to be made of, if its plan did not begin.
    pub(crate) unused: Option<Box<Work>>,
}

pub(crate) fn limits(user: &UserRow) -> SandboxLimits {
    SandboxLimits {
        cpus: user.max_cpus_per_sandbox,
        memory_mb: user.max_memory_mb_per_sandbox,
    }
}

fn command(exec: NewExec) -> Command {
    Command {
        argv: exec.argv,
        env: exec.env,
        cwd: exec.workdir,
        user: exec.user,
        timeout: exec.timeout,
        stdin: exec.stdin,
    }
}

/// A key as repeated in a reply.
fn shortened(key: &str) -> String {
    key.chars().take(80).collect()
}
