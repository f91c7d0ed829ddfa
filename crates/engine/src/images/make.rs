//! A disk made of layers, as an image.

use bhatti_image::convert::convert::{Progress, convert};
use bhatti_image::image::{FORMAT, Image, ImageManifest, ImageSource};
use bhatti_image::image_config::ImageConfig;
use bhatti_image::layer::files::Layer;
use bhatti_types::id::ImageId;
use bhatti_types::name::ImageName;
use bhatti_types::size::DiskMb;
use jiff::Timestamp;

use crate::context::Context;
use crate::error::Error;
use crate::request::{Caller, ImagePlace};
use crate::tasks::progress::Reporter;
use crate::view::ImageView;

/// Layers with what is known of them. Who makes an image of them holds their lease.
pub(super) struct Obtained {
    /// From the lowest.
    pub(super) layers: Vec<Layer>,
    pub(super) config: ImageConfig,
    pub(super) source: ImageSource,
    /// The digest of what they were named by.
    pub(super) digest: String,
}

impl Context {
    /// Makes an image of layers, in place of the one that has its name. One that is the same
    /// already is left: several may have been asked to make it at once. Dropped, it leaves nothing.
    pub(super) async fn make_image(
        &self,
        caller: &Caller,
        place: ImagePlace,
        name: ImageName,
        obtained: Obtained,
        reporter: &Reporter,
    ) -> Result<ImageView, Error> {
        reporter.phase("waiting", None);
        let owner = self.image_owner(caller, place)?;
        let dir = self.images.dir_of(&owner, &name);
        let _alone = self.image_locks.making(&dir).await;
        // Looked at again: much may have come in between.
        let target = self.image_target(caller, place, name).await?;
        if let Some(there) = &target.there
            && is_made_of(there, &obtained)
        {
            let seen = target.seen(there.clone());
            return self.image_view(caller, seen).await;
        }
        reporter.phase("converting", None);
        let (catalog, owner) = (self.images.clone(), target.owner.clone());
        let new = Self::blocking(move || catalog.begin(&owner)).await??;
        let tell = |progress: Progress| {
            reporter.amount(progress.done, progress.total);
        };
        let made = convert(&obtained.layers, &new.disk(), &self.convert, tell).await?;
        let manifest = ImageManifest {
            format: FORMAT,
            id: ImageId::random(),
            name: target.name.clone(),
            source: obtained.source,
            digest: obtained.digest,
            size_mb: DiskMb::new((made.size >> 20).max(DiskMb::MIN.into()))?,
            created_at: Timestamp::now(),
            config: obtained.config,
            layers: obtained
                .layers
                .iter()
                .map(|layer| layer.digest.to_string())
                .collect(),
        };
        reporter.phase("finishing", None);
        // Creates that have begun get the old one's disk first.
        let replacing = self.image_locks.write(&dir).await?;
        let (taken, replaced) = (target.taken(), target.there.is_some());
        let image = Self::blocking(move || {
            let disk = fs_err::OpenOptions::new().write(true).open(new.disk());
            // A small file system is grown by its first boot.
            disk.and_then(|disk| disk.set_len(manifest.size_mb.bytes()))
                .map_err(Error::internal)?;
            Ok::<_, Error>(new.finish(&manifest, taken)?)
        })
        .await??;
        drop(replacing);
        tracing::info!(image = %image.name, owner = %target.owner, "an image was made");
        if replaced {
            self.forget_outdated_templates().await;
        }
        let seen = target.seen(image);
        self.image_view(caller, seen).await
    }
}

fn is_made_of(image: &Image, obtained: &Obtained) -> bool {
    image.source == obtained.source && image.digest == obtained.digest
}
