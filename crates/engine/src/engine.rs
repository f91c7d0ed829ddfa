//! The facade: one method for each request of a user.

use std::sync::Arc;
use std::time::Duration;

use bhatti_host::facts;
use bhatti_host::lock::{DirLock, LockError};
use bhatti_image::catalog::Catalog;
use bhatti_image::kit::KitStore;
use bhatti_image::layer::store::LayerStore;
use bhatti_image::layer::store::shelf::Options as StoreOptions;
use bhatti_lifecycle::limits::SandboxLimits;
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_net::networks::Names;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::store::Store;
use bhatti_store::user::{LOCAL_NAME, UserRow, local_id};
use bhatti_types::name::{SandboxName, UserName};
use bhatti_types::secret::Token;
use bhatti_vmm::machine::Vmm;
use bhatti_vmm::qemu::launcher::Qemu;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::accelerator::Accelerators;
use crate::admission::{Admission, ThisHost};
use crate::config::EngineConfig;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::layout::Layout;
use crate::network::Network;
use crate::policies::Policies;
use crate::request::{Caller, NewSandbox, NewUser, Role, UserEdit};
use crate::sandbox::actor::Actor;
use crate::sandbox::directory::Directory;
use crate::sandbox::handle::Handle;
use crate::sandbox::work::{Material, Work};
use crate::view::{Created, HostView, SandboxView, UserView};
use crate::volumes::backups::Backups;
use crate::volumes::copies::NewVolumes;
use crate::{naming, recovery, storage};

/// How often a made-up name is tried before giving up.
const NAME_TRIES: u32 = 16;

/// The running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) ctx: Arc<Context>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) wake_limit: Duration,
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
        let place = layout.layers();
        let layers = Context::blocking(move || LayerStore::open(place, StoreOptions::default()));
        let layers = layers.await?.map_err(Error::internal)?;
        let accelerators = Accelerators::new(config.accelerator);
        let directory = Arc::new(Directory::default());
        let admission = Admission::new(Box::new(ThisHost), config.memory_limit, &directory);
        let boot = facts::boot_id().map_err(Error::internal)?;
        let names: Arc<dyn Names> = directory.clone();
        let network = Network::open(config.network, &data_dir, names).await?;
        let ctx = Arc::new(Context::new(
            layout,
            storage,
            data_dir,
            store,
            vmm,
            kits,
            images,
            (layers, config.convert, config.registries),
            accelerators,
            config.faults,
            (config.max_templates, config.pool),
            admission,
            Policies::new(config.idle),
            network,
            Backups::new(&config.backup)?,
            boot,
        ));
        ctx.load_policies().await?;
        ctx.sweep_images().await?;
        ctx.take_images().await?;
        recovery::recover(&ctx, &directory).await?;
        ctx.sweep_volumes().await?;
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
        engine.watch_networks();
        engine.wake_kept_hot();
        engine.keep_backups(&config.backup.schedule);
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

    /// Takes away networks that nobody uses, until the engine is closed.
    fn watch_networks(&self) {
        let ctx = self.ctx.clone();
        self.ctx.tasks.spawn(async move {
            ctx.closing
                .run_until_cancelled(crate::network::watch(&ctx))
                .await;
        });
    }

    /// Wakes what is to be kept hot and sleeps, because the host was restarted.
    fn wake_kept_hot(&self) {
        for handle in self.directory.all() {
            let now = handle.now();
            if !now.policy.keep_hot || !matches!(now.state(), State::Cold | State::Warm) {
                continue;
            }
            self.ctx.tasks.spawn(async move {
                if let Err(error) = handle.start(false).await {
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
        self.ctx.layers.close().await;
        self.ctx.tasks.wait().await;
        self.ctx.network.shut().await;
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
            network: self.ctx.network.view(),
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
        volumes: &NewVolumes,
    ) -> Result<SandboxView, Error> {
        let work = Work::new(self.ctx.clone(), row, None);
        let made = self.make_of(user, work, kind, material, volumes).await;
        made.map_err(|not_made| not_made.error)
    }

    /// [`Engine::make`] of what may have a machine already.
    pub(crate) async fn make_of(
        &self,
        user: &UserRow,
        work: Work,
        kind: PlanKind,
        material: Material,
        volumes: &NewVolumes,
    ) -> Result<SandboxView, NotMade> {
        let (recorded, limit) = (work.row.clone(), user.max_sandboxes);
        let mut actor = Actor::new(work, self.directory.clone());
        let (handle, directory) = (actor.take_handle(), self.directory.clone());
        let id = recorded.id.clone();
        let new_volumes = volumes.clone();
        // Entered in the directory within the transaction, so that another create of the same name
        // finds the one it lost to.
        let inserted = self.ctx.db(move |store| {
            store.write(|txn| {
                txn.sandbox_insert(&recorded, limit)?;
                let row = &recorded;
                let attached = new_volumes.record(txn, &row.user, &row.id, &row.name)?;
                if let Some(handle) = handle {
                    directory.insert(handle);
                }
                Ok(attached)
            })
        });
        let inserted = inserted.await;
        volumes.release();
        match inserted {
            Ok(attached) => actor.work.volumes = attached,
            Err(error) => {
                self.directory.remove(&id);
                let unused = Some(Box::new(actor.into_work()));
                return Err(NotMade { error, unused });
            }
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

    /// Changes what a user's sandboxes do when idle, and its limits, at once.
    pub async fn user_edit(&self, name: &UserName, edit: UserEdit) -> Result<UserView, Error> {
        self.ctx.user_edit(name, edit).await
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

pub(crate) fn limits(user: &UserRow) -> SandboxLimits {
    SandboxLimits {
        cpus: user.max_cpus_per_sandbox,
        memory_mb: user.max_memory_mb_per_sandbox,
    }
}

/// A sandbox that was not made.
pub(crate) struct NotMade {
    pub(crate) error: Error,
    /// What it was to be made of, if its plan did not begin.
    pub(crate) unused: Option<Box<Work>>,
}

/// A key as repeated in a reply.
pub(crate) fn shortened(key: &str) -> String {
    key.chars().take(80).collect()
}
