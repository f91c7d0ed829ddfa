//! An image of a sandbox's disk.
//!
//! What makes a machine that machine is given to a new one when it is made: its name, its machine
//! id, its randomness. What its owner has put on the disk stays there, keys and passwords too.

use bhatti_host::files;
use bhatti_image::image::{FORMAT, ImageManifest, ImageSource};
use bhatti_types::id::ImageId;
use bhatti_types::name::ImageName;
use bhatti_types::size::DiskMb;
use bhatti_vmm::machine::file as machine_file;
use jiff::Timestamp;

use super::lookup::Seen;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::request::{Caller, ImagePlace};
use crate::sandbox::handle::Handle;
use crate::view::ImageView;

impl Engine {
    /// Makes an image of a sandbox's disk as it is now. A running sandbox goes on, its writes held
    /// for as long as its disk is copied, which where blocks are shared is a moment; a sleeping one
    /// is not woken. How commands run in it is how they run in the sandbox.
    pub async fn image_save(
        &self,
        caller: &Caller,
        key: &str,
        place: ImagePlace,
        name: ImageName,
    ) -> Result<ImageView, Error> {
        let handle = self.find(caller, key)?;
        let (engine, caller) = (self.clone(), caller.clone());
        self.owned(async move { engine.ctx.save_image(&caller, &handle, place, name).await })
            .await
    }
}

impl Context {
    async fn save_image(
        &self,
        caller: &Caller,
        source: &Handle,
        place: ImagePlace,
        name: ImageName,
    ) -> Result<ImageView, Error> {
        let target = self.image_target(caller, place, name).await?;
        target.refuse_taken()?;
        let id = source.id.clone();
        let disk = self.layout.sandbox(&id).join(machine_file::DISK);
        self.room_on_disk(files::disk_usage(&disk).unwrap_or_default())
            .await?;
        let recorded = self.db(move |store| store.sandbox_get(&id)).await?;
        let row = recorded.ok_or_else(|| Error::NotFound {
            kind: Kind::Sandbox,
            name: source.now().view.name.to_string(),
        })?;
        // What else its image said holds for this one too, if the image is still there.
        let mut config = match self.image_seen(&caller.user, &row.image).await {
            Ok(Seen { image, .. }) => image.config,
            Err(_) => bhatti_image::image::ImageConfig::default(),
        };
        (config.user, config.env, config.workdir) = (row.run_as, row.env, row.workdir);

        let (catalog, owner) = (self.images.clone(), target.owner.clone());
        let new = Self::blocking(move || catalog.begin(&owner)).await??;
        let saved = source.save_disk(new.disk()).await?;
        tracing::info!(
            sandbox = %source.id,
            image = %target.name,
            held_ms = saved.held.as_millis() as u64,
            "a sandbox's disk was copied for an image"
        );
        let (taken, image_name) = (target.taken(), target.name.clone());
        let image = Self::blocking(move || {
            let disk = new.disk();
            let digest = files::sparse_digest(&disk).map_err(Error::internal)?;
            let bytes = fs_err::metadata(&disk).map_err(Error::internal)?.len();
            let manifest = ImageManifest {
                format: FORMAT,
                id: ImageId::random(),
                name: image_name,
                source: ImageSource::Sandbox(row.name),
                digest: format!("blake3:{digest}"),
                size_mb: DiskMb::new(bytes >> 20)?,
                created_at: Timestamp::now(),
                config,
                layers: Vec::new(),
            };
            Ok::<_, Error>(new.finish(&manifest, taken)?)
        })
        .await??;
        let seen = target.seen(image);
        self.image_view(caller, seen).await
    }
}
