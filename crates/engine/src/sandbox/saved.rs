//! The steps about saved machines: what a fork captures, and what a rollback puts in place.

use std::path::PathBuf;

use bhatti_host::files;
use bhatti_vmm::machine::file as machine_file;

use super::files::{blocking, clone};
use super::swap;
use super::work::{ForkPoint, Material, Saved, Trust, Work};
use crate::bases;
use crate::error::Error;
use crate::layout::file;

impl Work {
    pub(super) fn saved(&self) -> Result<&Saved, Error> {
        match &self.material {
            Material::Saved(saved) => Ok(saved),
            _ => Err(Error::internal("the plan has nothing to go on from")),
        }
    }

    fn fork_point(&self) -> Result<&ForkPoint, Error> {
        match &self.material {
            Material::Fork(point) => Ok(point),
            _ => Err(Error::internal("the plan is no fork")),
        }
    }

    /// Checks that the saved machine is as it was saved.
    pub(super) async fn check_saved(&self) -> Result<(), Error> {
        let saved = self.saved()?;
        match saved.trust {
            Trust::Manifest => self.check_sound(&saved.dir).await,
            Trust::JustWritten => Ok(()),
        }
    }

    pub(super) async fn make_fork_directory(&mut self) -> Result<(), Error> {
        let dir = self.fork_point()?.dir.clone();
        blocking(move || fs_err::create_dir_all(dir)).await?;
        self.settle_disk().await
    }

    /// Captures the paused machine. Nothing is synced: the copies need it only while this daemon
    /// and this host are up, and each makes its own disk durable.
    pub(super) async fn save_fork(&mut self) -> Result<(), Error> {
        let dir = self.fork_point()?.dir.clone();
        self.save_machine(dir.clone()).await?;
        self.copy_note_into(dir).await
    }

    pub(super) async fn copy_cold_fork(&mut self) -> Result<(), Error> {
        let dir = self.fork_point()?.dir.clone();
        self.copy_cold_into(dir.clone()).await?;
        let (cold, to) = (self.ctx.layout.cold(&self.row.id), dir.clone());
        // Again, with the digests that a copy's own checkpoints begin with.
        blocking(move || bases::link_memory(&cold, &to)).await?;
        self.copy_note_into(dir).await
    }

    async fn copy_note_into(&self, to: PathBuf) -> Result<(), Error> {
        let from = self.ctx.layout.sandbox(&self.row.id);
        blocking(move || {
            bases::copy_note(&from, &to);
            Ok(())
        })
        .await
    }

    pub(super) async fn remove_fork_directory(&mut self) -> Result<(), Error> {
        let dir = self.fork_point()?.dir.clone();
        blocking(move || files::remove_tree(&dir)).await
    }

    pub(super) async fn copy_aside(&mut self) -> Result<(), Error> {
        self.check_saved().await?;
        let from = self.saved()?.dir.clone();
        let to = self.ctx.layout.aside(&self.row.id);
        let (aside, root) = (to.clone(), self.ctx.layout.root().to_owned());
        let volumes = self.volumes_aside();
        blocking(move || {
            files::remove_tree(&to)?;
            fs_err::create_dir(&to)?;
            // Neither is written to again: an image is immutable.
            fs_err::hard_link(from.join(file::STATE), to.join(file::STATE))?;
            bases::link_memory(&from, &to)?;
            let disk = to.join(file::DISK);
            clone(&from.join(file::DISK), &disk)?;
            bases::note_disk(&root, &to, &from);
            files::sync_file(&disk)?;
            for (name, _, size) in &volumes {
                let file = to.join(name);
                clone(&from.join(name), &file)?;
                // It may have grown since; a disk never becomes smaller.
                crate::volumes::disk::lengthen(&file, *size)?;
                files::sync_file(&file)?;
            }
            files::sync_dir(&to)
        })
        .await?;
        if let Material::Saved(saved) = &mut self.material {
            (saved.dir, saved.trust) = (aside, Trust::JustWritten);
        }
        Ok(())
    }

    pub(super) async fn swap_disk(&mut self) -> Result<(), Error> {
        let aside = self.ctx.layout.aside(&self.row.id);
        let dir = self.ctx.layout.sandbox(&self.row.id);
        let storage = self.ctx.layout.storage().to_owned();
        let mut moves = vec![(file::DISK.to_owned(), dir.join(machine_file::DISK))];
        let volumes = self.volumes_aside().into_iter();
        moves.extend(volumes.map(|(name, path, _)| (name, path)));
        blocking(move || {
            bases::copy_note(&aside, &dir);
            swap::all(&storage, &aside, &moves)
        })
        .await
    }

    pub(super) async fn remove_aside(&mut self) -> Result<(), Error> {
        let aside = self.ctx.layout.aside(&self.row.id);
        blocking(move || files::remove_tree(&aside)).await
    }
}
