//! What all parts of the engine share.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bhatti_host::pool::storage::Storage;
use bhatti_image::catalog::Catalog;
use bhatti_image::intake::Intake;
use bhatti_image::kit::{Kit, KitStore};
use bhatti_image::layer::store::LayerStore;
use bhatti_image::oci::http::Client;
use bhatti_store::error::StoreError;
use bhatti_store::store::Store;
use bhatti_types::id::DataDirId;
use bhatti_vmm::machine::{Accelerator, Vmm};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::accelerator::Accelerators;
use crate::admission::Admission;
use crate::config::{ConvertOptions, RegistryOptions};
use crate::error::Error;
use crate::fault::Faults;
use crate::images::lookup::ImageLocks;
use crate::layout::Layout;
use crate::network::Network;
use crate::policies::Policies;
use crate::tasks::registry::Tasks;
use crate::templates::registry::Templates;
use crate::templates::stock::Stock;
use crate::volumes::backups::Backups;
use crate::volumes::claims::VolumeClaims;

/// What all parts of the engine share.
pub(crate) struct Context {
    pub(crate) layout: Layout,
    pub(crate) storage: Arc<Storage>,
    pub(crate) data_dir: DataDirId,
    pub(crate) store: Store,
    pub(crate) vmm: Arc<dyn Vmm>,
    pub(crate) kits: KitStore,
    pub(crate) images: Catalog,
    /// The layers of images.
    pub(crate) layers: LayerStore,
    /// How they are made disks.
    pub(crate) convert: ConvertOptions,
    /// How registries are reached.
    pub(crate) registries: RegistryOptions,
    /// Made when one is reached for the first time.
    pub(crate) registry_client: OnceCell<Client>,
    /// Who uses which image.
    pub(crate) image_locks: ImageLocks,
    /// Work that takes longer than a request.
    pub(crate) long: Tasks,
    /// Takes in images from outside, where machines are kept on another file system.
    pub(crate) intake: Option<Arc<Intake>>,
    pub(crate) accelerators: Accelerators,
    pub(crate) faults: Arc<dyn Faults>,
    pub(crate) templates: Templates,
    pub(crate) stock: Stock,
    pub(crate) admission: Admission,
    pub(crate) policies: Policies,
    pub(crate) network: Network,
    pub(crate) volume_claims: VolumeClaims,
    pub(crate) backups: Backups,
    /// The host's boot.
    pub(crate) boot: String,
    /// The host is going down: nothing is started any more.
    going_down: AtomicBool,
    /// Cancelled when the engine is closed: for tasks that have no end of their own.
    pub(crate) closing: CancellationToken,
    /// All tasks of the engine; joined when it is closed.
    pub(crate) tasks: TaskTracker,
    /// Images of machines whose every byte was checked, or written, by this daemon.
    sound: Mutex<HashSet<PathBuf>>,
}

impl Context {
    #[expect(
        clippy::too_many_arguments,
        reason = "one call, and each is a part of its own"
    )]
    pub(crate) fn new(
        layout: Layout,
        storage: Storage,
        data_dir: DataDirId,
        store: Store,
        vmm: Arc<dyn Vmm>,
        kits: KitStore,
        images: Catalog,
        (layers, convert, registries): (LayerStore, ConvertOptions, RegistryOptions),
        accelerators: Accelerators,
        faults: Arc<dyn Faults>,
        (max_templates, pool): (usize, usize),
        admission: Admission,
        policies: Policies,
        network: Network,
        backups: Backups,
        boot: String,
    ) -> Self {
        let intake = layout
            .images_put()
            .map(|from| Arc::new(Intake::new(from, images.clone())));
        Self {
            layout,
            storage: Arc::new(storage),
            data_dir,
            store,
            vmm,
            kits,
            images,
            layers,
            convert,
            registries,
            registry_client: OnceCell::new(),
            image_locks: ImageLocks::default(),
            long: Tasks::default(),
            intake,
            accelerators,
            faults,
            templates: Templates::new(max_templates),
            stock: Stock::new(pool),
            admission,
            policies,
            network,
            volume_claims: VolumeClaims::default(),
            backups,
            boot,
            going_down: AtomicBool::new(false),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            sound: Mutex::new(HashSet::new()),
        }
    }

    /// Runs work that blocks: database, files.
    pub(crate) async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(Error::internal)
    }

    /// Asks the database.
    pub(crate) async fn db<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.store.clone();
        Self::blocking(move || query(&store))
            .instrument(tracing::debug_span!("database"))
            .await?
            .map_err(Error::from)
    }

    /// The accelerator for new machines.
    pub(crate) async fn accelerator(&self, kit: &Kit) -> Result<Accelerator, Error> {
        self.accelerators
            .get(&self.vmm, &self.layout, &self.data_dir, kit)
            .await
    }

    /// Has nothing started any more.
    pub(crate) fn go_down(&self) {
        self.going_down.store(true, Ordering::Release);
    }

    /// Whether the host is going down.
    pub(crate) fn is_going_down(&self) -> bool {
        self.going_down.load(Ordering::Acquire)
    }

    /// Refuses to start a machine while the host is going down.
    pub(crate) fn refuse_if_going_down(&self) -> Result<(), Error> {
        if self.is_going_down() {
            return Err(Error::Unavailable {
                message: "the host is going down; no machine is started".to_owned(),
                hint: None,
            });
        }
        Ok(())
    }

    /// Whether an image of a machine is known to be sound.
    pub(crate) fn is_sound(&self, image: &std::path::Path) -> bool {
        self.sound
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(image)
    }

    /// Remembers that an image of a machine is sound.
    pub(crate) fn mark_sound(&self, image: PathBuf) {
        self.sound
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(image);
    }

    /// Forgets an image of a machine that is deleted.
    pub(crate) fn forget_sound(&self, image: &std::path::Path) {
        self.sound
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(image);
    }
}
