//! Pulling an image from a registry.
//!
//! The registry is asked what the reference means now, the layers that are not in the store are
//! fetched, and a disk is made of them. Layers are shared: several who pull the same at once fetch
//! them once. A pull that is given up leaves nothing but the beginnings of blobs, with which the
//! next one goes on.

use std::sync::Arc;

use bhatti_image::image::{Image, ImageSource};
use bhatti_image::layer::digest::Sha256Digest;
use bhatti_image::layer::store::progress::{LayerProgress, Phase, Progress};
use bhatti_image::oci::http::{Client, Transport};
use bhatti_image::oci::platform::Platform;
use bhatti_image::oci::pull;
use bhatti_image::oci::reference::Reference;
use bhatti_image::oci::registry::{Access, Repository};
use bhatti_image::oci::resolve::Resolved;
use bhatti_types::id::TaskId;
use bhatti_types::invalid::Invalid;
use bhatti_types::name::ImageName;

use super::make::Obtained;
use super::quota::Target;
use super::request::{Pull, RegistryAccess};
use crate::context::Context;
use crate::engine::Engine;
use crate::error::Error;
use crate::request::{Caller, ImagePlace};
use crate::tasks::progress::{Part, Reporter};
use crate::tasks::registry::TaskKind;
use crate::view::ImageView;

/// How many times its compressed size an image takes as a disk, more or less.
const UNPACKED: u64 = 2;

/// The answer to a pull.
#[derive(Debug)]
pub enum Pulled {
    /// The image is there, and the registry has no newer one.
    Exists(Box<ImageView>),
    /// A task has begun.
    Begun(TaskId),
}

/// What is to be pulled, checked.
struct Wanted {
    target: Target,
    place: ImagePlace,
    repository: Arc<Repository>,
    platform: Platform,
}

impl Engine {
    /// Begins to pull an image, as a task. An image that is there under its name, and came from
    /// the same reference, is replaced if the registry has another one now; one that came from
    /// elsewhere is not: [`Error::Exists`].
    pub async fn image_pull(&self, caller: &Caller, pull: Pull) -> Result<Pulled, Error> {
        let reference: Reference = pull.reference.parse()?;
        let platform = match &pull.platform {
            Some(text) => text.parse()?,
            None => Platform::host(),
        };
        let name = match pull.name {
            Some(name) => name,
            None => default_name(&reference)?,
        };
        let target = self.ctx.image_target(caller, pull.place, name).await?;
        let repository = self.ctx.repository(reference, pull.access).await?;
        if let Some(there) = &target.there {
            if !came_from(there, repository.reference()) {
                target.refuse_taken()?;
            }
            let resolved = repository.resolve(&platform).await?;
            if is_same(there, &resolved) {
                let seen = target.seen(there.clone());
                let view = self.ctx.image_view(caller, seen).await?;
                return Ok(Pulled::Exists(Box::new(view)));
            }
        }
        let subject = target.name.to_string();
        let (ctx, caller) = (self.ctx.clone(), caller.clone());
        let wanted = Wanted {
            target,
            place: pull.place,
            repository,
            platform,
        };
        let id = self.begin_task(
            &caller.clone(),
            TaskKind::Pull,
            subject,
            |reporter| async move {
                let view = ctx.pull(&caller, wanted, &reporter).await?;
                Ok(Some(view))
            },
        )?;
        Ok(Pulled::Begun(id))
    }
}

impl Context {
    async fn pull(
        &self,
        caller: &Caller,
        wanted: Wanted,
        reporter: &Reporter,
    ) -> Result<ImageView, Error> {
        reporter.phase("asking", None);
        let resolved = wanted.repository.resolve(&wanted.platform).await?;
        let lease = self.layers.lease();
        let size = |there: bool| -> u64 {
            let specs = resolved.layers.iter();
            let specs = specs.filter(|spec| there || lease.get(&spec.digest).is_none());
            specs.map(|spec| spec.size).sum()
        };
        let bytes = size(false).saturating_add(size(true).saturating_mul(UNPACKED));
        self.room_on_disk(bytes).await?;
        reporter.phase("fetching", None);
        let reports = Reports(reporter.clone());
        let layers = pull::pull(&wanted.repository, &resolved, &lease, &reports).await?;
        let obtained = Obtained {
            source: source(&resolved)?,
            digest: resolved.manifest.to_string(),
            config: resolved.config.config,
            layers,
        };
        let target = wanted.target;
        self.make_image(caller, wanted.place, target.name, obtained, reporter)
            .await
    }

    /// The repository of a reference. Nothing is asked yet.
    pub(super) async fn repository(
        &self,
        reference: Reference,
        access: RegistryAccess,
    ) -> Result<Arc<Repository>, Error> {
        let options = self.registries.clone();
        let client = self.registry_client.get_or_try_init(|| async {
            let made = Self::blocking(move || Client::new(&options)).await?;
            made.map_err(Error::internal)
        });
        let access = Access {
            credentials: access.credentials,
            transport: if access.insecure {
                Transport::Plain
            } else {
                Transport::Tls
            },
        };
        Ok(Arc::new(Repository::new(client.await?, reference, access)?))
    }
}

/// Tells a task how far its layers are.
pub(super) struct Reports(pub(super) Reporter);

impl Progress for Reports {
    fn layer(&self, digest: &Sha256Digest, progress: LayerProgress) {
        self.0.part(Part {
            name: digest.to_string(),
            done_bytes: progress.done,
            total_bytes: Some(progress.total),
            complete: progress.phase == Phase::There,
        });
    }
}

/// What an image is called that was given no name: the last part of its repository, and its tag.
fn default_name(reference: &Reference) -> Result<ImageName, Invalid> {
    let name = reference.short_name();
    match reference.tag() {
        Some(tag) => format!("{name}:{tag}").parse(),
        None => name.parse(),
    }
}

/// The reference without a digest.
fn base(reference: &Reference) -> String {
    let text = reference.to_string();
    match text.split_once('@') {
        Some((base, _)) => base.to_owned(),
        None => text,
    }
}

/// Where a resolved image comes from.
fn source(resolved: &Resolved) -> Result<ImageSource, Invalid> {
    let text = format!("oci:{}@{}", base(&resolved.reference), resolved.digest);
    text.parse()
}

/// Whether an image was pulled by this reference, whatever it meant then.
fn came_from(image: &Image, reference: &Reference) -> bool {
    match &image.source {
        ImageSource::Oci(text) => {
            let was = text.split_once('@').map_or(&**text, |(base, _)| base);
            was == base(reference)
        }
        _ => false,
    }
}

/// Whether an image is what the registry has now.
fn is_same(image: &Image, resolved: &Resolved) -> bool {
    image.digest == resolved.manifest.to_string()
        && source(resolved).is_ok_and(|source| source == image.source)
}

#[cfg(test)]
mod test {
    use super::{base, default_name};

    #[test]
    fn an_image_is_called_after_its_repository_and_tag() {
        let named = |text: &str| {
            let reference = text.parse().unwrap();
            String::from(default_name(&reference).unwrap())
        };
        assert_eq!(named("alpine"), "alpine");
        assert_eq!(named("alpine:3.20"), "alpine:3.20");
        assert_eq!(named("reg:5000/me/app:latest"), "app");
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(named(&format!("ghcr.io/me/app@{digest}")), "app");
        assert_eq!(named(&format!("ghcr.io/me/app:1@{digest}")), "app:1");
    }

    #[test]
    fn a_reference_is_the_same_whatever_digest_it_names() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let with: String = base(&format!("alpine:3@{digest}").parse().unwrap());
        assert_eq!(with, base(&"alpine:3".parse().unwrap()));
        assert_eq!(with, "docker.io/library/alpine:3");
    }
}
