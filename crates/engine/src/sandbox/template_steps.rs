//! The steps that make templates, and machines from them.

use std::time::Duration;

use bhatti_guest::identity::Identity;
use bhatti_host::files;
use bhatti_types::run::Init;
use bhatti_vmm::machine::file as machine_file;

use super::files::{blocking, make_empty, never_cancelled};
use super::steps::{CALL_LIMIT, unix_nanos};
use super::work::{Material, Work};
use crate::bases::{self, Bases};
use crate::checkpoint::{self, ImageKind};
use crate::context::Context;
use crate::error::Error;
use crate::layout::file;
use crate::templates::build::Wanted;
use crate::templates::registry::TemplateLease;

/// Time for systemd to bring a system up before a template is made of it. Under software emulation
/// a small one takes about 15 s alone.
const SETTLE_LIMIT: Duration = Duration::from_mins(4);
/// Directory, in that of the machine a template is made of, that becomes the template.
const IMAGE: &str = "image";

impl Work {
    pub(super) async fn clone_template_disk(&mut self) -> Result<(), Error> {
        let dir = self.lease()?.dir.clone();
        let cloned = self.clone_disk_of(&dir).await;
        self.note_broken(&cloned);
        cloned
    }

    pub(super) async fn link_template_memory(&mut self) -> Result<(), Error> {
        let (image, dir) = (self.lease()?.dir.clone(), self.dir());
        blocking(move || bases::link_memory(&image, &dir)).await
    }

    /// Notes that a template is no good: what it holds is damaged, or its state can't be loaded.
    pub(super) fn note_broken<T>(&self, result: &Result<T, Error>) {
        let (Material::Template(lease), Err(error)) = (&self.material, result) else {
            return;
        };
        // Not of a fault of the host's: that says nothing about the template.
        if matches!(error, Error::Failed { .. }) {
            self.ctx.templates.mark_broken(&lease.id);
        }
    }

    pub(super) async fn make_template_directory(&mut self) -> Result<(), Error> {
        make_empty(self.dir()).await
    }

    /// Grows the root file system, so that clones need not. Nothing else: a name, a machine id and
    /// randomness are each clone's own.
    pub(super) async fn prepare_guest(&mut self) -> Result<(), Error> {
        let nobody = Identity {
            unix_nanos: Some(unix_nanos()?),
            grow_root: true,
            ..Identity::default()
        };
        self.link()?.identity(&nobody, CALL_LIMIT).await?;
        if self.row.init == Init::Systemd {
            self.settle_guest().await?;
        }
        Ok(())
    }

    /// Waits until systemd has brought the system up, so that clones need not. One that takes too
    /// long is a template all the same: its clones go on with coming up.
    async fn settle_guest(&self) -> Result<(), Error> {
        let state = self.link()?.settle(SETTLE_LIMIT).await?;
        let image = &self.row.image;
        if state == "running" {
            tracing::info!(%image, "systemd has brought the system up");
        } else {
            tracing::warn!(%image, state, "systemd has not brought the system up as it should");
        }
        Ok(())
    }

    pub(super) async fn save_template(&mut self) -> Result<(), Error> {
        let image = self.dir().join(IMAGE);
        make_empty(image.clone()).await?;
        self.save_memory(&image, &never_cancelled()).await
    }

    pub(super) async fn seal_template(&mut self) -> Result<(), Error> {
        self.end_disk_sync().await;
        let (dir, shape) = (self.dir(), self.wanted()?.shape.clone());
        let whole = self.ctx.layout.template(&shape.id());
        let manifest = self.manifest(ImageKind::Template);
        let sound = whole.clone();
        Context::blocking(move || {
            let image = dir.join(IMAGE);
            if image.exists() {
                // One that was left by an earlier daemon and could not be read.
                files::remove_tree(&whole).map_err(Error::internal)?;
                let disk = dir.join(machine_file::DISK);
                if disk.exists() {
                    fs_err::rename(disk, image.join(file::DISK)).map_err(Error::internal)?;
                }
                let text = serde_json::to_vec(&shape).map_err(Error::internal)?;
                files::write_durable(&image.join(file::SHAPE), &text).map_err(Error::internal)?;
            }
            let names = [file::STATE, file::MEMORY, file::DISK];
            // Its memory is all its own, and an image's disk has no table of digests.
            checkpoint::seal(&image, &whole, manifest, &names, &Bases::none())?;
            files::remove_tree(&dir).map_err(Error::internal)
        })
        .await??;
        self.ctx.mark_sound(sound);
        Ok(())
    }

    pub(super) async fn remove_template_directory(&mut self) -> Result<(), Error> {
        self.end_disk_sync().await;
        let dir = self.dir();
        let whole = self.ctx.layout.template(&self.wanted()?.shape.id());
        self.ctx.forget_sound(&whole);
        blocking(move || {
            files::remove_tree(&dir)?;
            files::remove_tree(&whole)
        })
        .await
    }

    /// What a new disk's syncing found does not matter: its sealing syncs again, or it is deleted.
    /// But it must not outlive its directory.
    async fn end_disk_sync(&mut self) {
        if let Some(sync) = self.disk_sync.take() {
            let _ = sync.await;
        }
    }

    fn lease(&self) -> Result<&TemplateLease, Error> {
        match &self.material {
            Material::Template(lease) => Ok(lease),
            _ => Err(Error::internal("the plan has no template")),
        }
    }

    fn wanted(&self) -> Result<&Wanted, Error> {
        match &self.material {
            Material::Build(wanted) => Ok(wanted),
            _ => Err(Error::internal("the plan makes no template")),
        }
    }
}
