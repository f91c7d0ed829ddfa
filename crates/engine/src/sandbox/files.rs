//! The steps that work on files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use bhatti_host::files::{self, Cloned};
use bhatti_host::pool::settings::StorageKind;
use bhatti_lifecycle::state::State;
use bhatti_vmm::machine::file as machine_file;
use jiff::Timestamp;

use super::work::{Material, Trust, Work};
use crate::bases::{self, Base, Bases};
use crate::checkpoint::{self, Depth, ImageError, ImageKind, Manifest};
use crate::context::Context;
use crate::error::Error;
use crate::layout::file;
use crate::volumes::copies::{are_the_same, saved};

/// Said once a daemon: every create would say it otherwise.
static NO_REFLINK: Once = Once::new();

impl Work {
    pub(super) async fn make_directory(&mut self) -> Result<(), Error> {
        let dir = self.dir();
        blocking(move || {
            fs_err::create_dir_all(&dir)?;
            files::sync_dir(dir.parent().unwrap_or(&dir))
        })
        .await
    }

    pub(super) async fn remove_directory(&mut self) -> Result<(), Error> {
        self.ctx.forget_sound(&self.ctx.layout.cold(&self.row.id));
        if let Some(sync) = self.disk_sync.take() {
            // What it found does not matter any more, but it must not outlive the directory.
            let _ = sync.await;
        }
        self.remove_own_volumes().await?;
        let dir = self.dir();
        blocking(move || files::remove_tree(&dir)).await
    }

    pub(super) async fn clone_image_disk(&mut self) -> Result<(), Error> {
        let image = match &self.material {
            Material::Image(image) => image,
            Material::Build(wanted) => &wanted.image,
            _ => return Err(Error::internal("the plan has no image")),
        };
        let (from, to) = (image.disk.clone(), self.dir().join(machine_file::DISK));
        let len = self.row.disk.bytes();
        let path = to.clone();
        let dir = self.dir();
        blocking(move || {
            bases::forget_disk(&dir);
            clone(&from, &to)?;
            let disk = fs_err::OpenOptions::new().write(true).open(&to)?;
            // Grown at the end; the guest grows its file system to it.
            if disk.metadata()?.len() < len {
                disk.set_len(len)
            } else {
                Ok(())
            }
        })
        .await?;
        self.sync_disk_meanwhile(path);
        Ok(())
    }

    /// Makes the disk of a template's, which is checked.
    pub(super) async fn clone_disk_of(&mut self, image: &Path) -> Result<(), Error> {
        self.check_sound(image).await?;
        let (from, to) = (image.join(file::DISK), self.dir().join(machine_file::DISK));
        let path = to.clone();
        let (root, dir) = (self.ctx.layout.storage().to_owned(), self.dir());
        let image = image.to_owned();
        blocking(move || {
            clone(&from, &to)?;
            bases::note_disk(&root, &dir, &image);
            Ok(())
        })
        .await?;
        self.sync_disk_meanwhile(path);
        Ok(())
    }

    pub(super) async fn clone_saved_disk(&mut self) -> Result<(), Error> {
        self.check_saved().await?;
        let saved = self.saved()?.clone();
        let (root, dir) = (self.ctx.layout.root().to_owned(), self.dir());
        let path = dir.join(machine_file::DISK);
        let to = path.clone();
        blocking(move || {
            clone(&saved.dir.join(file::DISK), &to)?;
            match saved.trust {
                Trust::Manifest => bases::note_disk(&root, &dir, &saved.dir),
                Trust::JustWritten => bases::copy_note(&saved.dir, &dir),
            }
            Ok(())
        })
        .await?;
        let saved = self.saved()?.dir.clone();
        self.copy_saved_volumes(&saved).await?;
        self.sync_disk_meanwhile(path);
        Ok(())
    }

    /// Makes the new disk durable while the machine starts; the next commit waits for it.
    fn sync_disk_meanwhile(&mut self, path: PathBuf) {
        self.disk_sync = Some(tokio::task::spawn_blocking(move || {
            files::sync_file(&path)?;
            files::sync_dir(path.parent().unwrap_or(&path))
        }));
    }

    pub(super) async fn empty_memory(&mut self) -> Result<(), Error> {
        let (dir, len) = (self.dir(), self.row.memory.bytes());
        blocking(move || {
            // Removed first: it may be linked to a checkpoint's.
            bases::remove_memory(&dir)?;
            files::create_sparse(&dir.join(machine_file::MEMORY), len)
        })
        .await
    }

    pub(super) async fn remove_memory(&mut self) -> Result<(), Error> {
        let dir = self.dir();
        blocking(move || bases::remove_memory(&dir)).await
    }

    pub(super) async fn link_saved_memory(&mut self) -> Result<(), Error> {
        let (image, dir) = (self.saved()?.dir.clone(), self.dir());
        blocking(move || bases::link_memory(&image, &dir)).await
    }

    pub(super) async fn link_cold_memory(&mut self) -> Result<(), Error> {
        let image = self.ctx.layout.cold(&self.row.id);
        self.check_sound(&image).await?;
        let dir = self.dir();
        blocking(move || bases::link_memory(&image, &dir)).await
    }

    /// Checks every byte of an image once in the life of a daemon; its sizes every time.
    pub(super) async fn check_sound(&self, image: &Path) -> Result<(), Error> {
        let depth = if self.ctx.is_sound(image) {
            Depth::Sizes
        } else {
            Depth::Digests
        };
        let dir = image.to_owned();
        let manifest = Context::blocking(move || checkpoint::verify(&dir, depth)).await??;
        let memory = manifest.files.get(file::MEMORY).map(|memory| memory.bytes);
        let fits = manifest.kit == self.row.kit
            && manifest.cpus == self.row.cpus.get()
            && manifest.memory_mb == self.row.memory.get()
            && memory == Some(self.row.memory.bytes())
            && manifest.files.contains_key(file::STATE);
        let is_own_sleep = manifest.kind == ImageKind::Cold;
        if !fits || (is_own_sleep && !are_the_same(&self.volumes, &manifest.volumes)) {
            return Err(ImageError::Manifest.into());
        }
        self.ctx.mark_sound(image.to_owned());
        Ok(())
    }

    pub(super) async fn save_cold(&mut self) -> Result<(), Error> {
        let half = self.ctx.layout.cold_half(&self.row.id);
        make_empty(half.clone()).await?;
        self.save_memory(&half, &self.cancel).await
    }

    /// Puts the paused machine's state and memory into a directory, or breaks that off.
    pub(super) async fn save_memory(
        &self,
        to: &Path,
        cancel: &Arc<AtomicBool>,
    ) -> Result<(), Error> {
        let (state, memory) = (to.join(file::STATE), to.join(file::MEMORY));
        self.machine()?.save(&state, &memory, cancel).await?;
        Ok(())
    }

    pub(super) async fn seal_cold(&mut self) -> Result<(), Error> {
        let half = self.ctx.layout.cold_half(&self.row.id);
        let whole = self.ctx.layout.cold(&self.row.id);
        let disks = self.written_disks();
        let manifest = self.manifest(ImageKind::Cold);
        let sound = whole.clone();
        let memory = self.dir().join(machine_file::MEMORY);
        Context::blocking(move || {
            // The memory is only worth what the disks under it are.
            let synced = disks.iter().try_for_each(|disk| files::sync_file(disk));
            synced.map_err(Error::internal)?;
            if half.exists() {
                files::remove_tree(&whole).map_err(Error::internal)?;
            }
            let bases = Bases::none().with(file::MEMORY, Base::beside(&memory));
            let names = [file::STATE, file::MEMORY];
            checkpoint::seal(&half, &whole, manifest, &names, &bases).map_err(Error::from)
        })
        .await??;
        self.ctx.mark_sound(sound);
        Ok(())
    }

    pub(super) async fn remove_cold(&mut self) -> Result<(), Error> {
        let whole = self.ctx.layout.cold(&self.row.id);
        let half = self.ctx.layout.cold_half(&self.row.id);
        self.ctx.forget_sound(&whole);
        blocking(move || {
            files::remove_tree(&whole)?;
            files::remove_tree(&half)
        })
        .await
    }

    pub(super) async fn make_snapshot_directory(&mut self) -> Result<(), Error> {
        let half = self.ctx.layout.snapshot_half(&self.snapshot()?.id);
        blocking(move || fs_err::create_dir_all(half)).await?;
        self.settle_disk().await
    }

    /// Has a running machine's disk written out before the machine stands still: what shares
    /// blocks is written out first, and there is less of it then.
    pub(super) async fn settle_disk(&self) -> Result<(), Error> {
        let shares = match self.ctx.storage.kind() {
            StorageKind::Reflink | StorageKind::Pool => true,
            StorageKind::Copy => false,
        };
        if self.state() != State::Hot || !shares {
            return Ok(());
        }
        let disks = self.written_disks();
        blocking(move || disks.iter().try_for_each(|disk| files::sync_file(disk))).await
    }

    pub(super) async fn save_snapshot(&mut self) -> Result<(), Error> {
        let half = self.ctx.layout.snapshot_half(&self.snapshot()?.id);
        self.save_machine(half).await
    }

    /// Puts the paused machine's state, memory and disk into a directory.
    pub(super) async fn save_machine(&self, to: PathBuf) -> Result<(), Error> {
        self.save_memory(&to, &never_cancelled()).await?;
        self.copy_volumes(&to).await?;
        let (from, to) = (self.dir().join(machine_file::DISK), to.join(file::DISK));
        blocking(move || clone(&from, &to)).await
    }

    pub(super) async fn copy_cold(&mut self) -> Result<(), Error> {
        let half = self.ctx.layout.snapshot_half(&self.snapshot()?.id);
        self.copy_cold_into(half).await
    }

    /// Puts the cold image and a copy of the disk into a directory.
    pub(super) async fn copy_cold_into(&self, to: PathBuf) -> Result<(), Error> {
        let cold = self.ctx.layout.cold(&self.row.id);
        self.check_sound(&cold).await?;
        self.copy_volumes(&to).await?;
        let disk = self.dir().join(machine_file::DISK);
        blocking(move || {
            for name in [file::STATE, file::MEMORY] {
                files::remove_file(&to.join(name))?;
                // Neither is written to again: an image is immutable.
                fs_err::hard_link(cold.join(name), to.join(name))?;
            }
            clone(&disk, &to.join(file::DISK))
        })
        .await
    }

    pub(super) async fn seal_snapshot(&mut self) -> Result<(), Error> {
        let id = self.snapshot()?.id.clone();
        let (half, whole) = (
            self.ctx.layout.snapshot_half(&id),
            self.ctx.layout.snapshot(&id),
        );
        let manifest = self.manifest(ImageKind::Checkpoint);
        let dir = whole.clone();
        let (root, sandbox) = (self.ctx.layout.storage().to_owned(), self.dir());
        // What was copied: the cold image, or what the machine maps with its pages over it.
        let memory = if self.state() == State::Cold {
            self.ctx.layout.cold(&self.row.id).join(file::MEMORY)
        } else {
            sandbox.join(machine_file::MEMORY)
        };
        let volumes: Vec<_> = self
            .volumes
            .iter()
            .map(|it| {
                let dir = self.ctx.layout.volume(&it.at.volume);
                (checkpoint::volume_file(it.at.slot), dir)
            })
            .collect();
        let bytes = Context::blocking(move || {
            let mut names = vec![file::STATE, file::MEMORY, file::DISK];
            let mut bases = Bases::none()
                .with(file::MEMORY, Base::beside(&memory))
                .with(file::DISK, bases::disk(&root, &sandbox));
            for (name, dir) in &volumes {
                names.push(name);
                bases = bases.with(name, bases::disk_as(&root, dir, name));
            }
            checkpoint::seal(&half, &dir, manifest, &names, &bases)?;
            bases::note_disk(&root, &sandbox, &dir);
            for (_, volume) in &volumes {
                bases::note_disk(&root, volume, &dir);
            }
            checkpoint::disk_usage(&dir).map_err(Error::internal)
        })
        .await??;
        self.ctx.mark_sound(whole);
        if let Material::Snapshot(snapshot) = &mut self.material {
            snapshot.disk_bytes = bytes;
        }
        Ok(())
    }

    pub(super) async fn remove_snapshot_directory(&mut self) -> Result<(), Error> {
        let id = self.snapshot()?.id.clone();
        remove_snapshot(&self.ctx, id).await
    }

    pub(super) fn manifest(&self, kind: ImageKind) -> Manifest {
        Manifest {
            kind,
            sandbox: self.row.id.to_string(),
            engine: self.row.engine.clone(),
            accelerator: self.row.accelerator.clone().unwrap_or_default(),
            kit: self.row.kit.clone(),
            cpus: self.row.cpus.get(),
            memory_mb: self.row.memory.get(),
            created_at: Timestamp::now().to_string(),
            files: BTreeMap::new(),
            volumes: saved(&self.volumes),
        }
    }
}

/// Deletes a checkpoint's files, whole or half-made.
pub(crate) async fn remove_snapshot(
    ctx: &Context,
    id: bhatti_types::id::SnapshotId,
) -> Result<(), Error> {
    let (half, whole) = (ctx.layout.snapshot_half(&id), ctx.layout.snapshot(&id));
    ctx.forget_sound(&whole);
    blocking(move || {
        files::remove_tree(&half)?;
        files::remove_tree(&whole)
    })
    .await
}

/// Makes a directory with nothing in it, in place of what is there.
pub(super) async fn make_empty(dir: PathBuf) -> Result<(), Error> {
    blocking(move || {
        files::remove_tree(&dir)?;
        fs_err::create_dir(dir)
    })
    .await
}

/// A flag for what is not broken off.
pub(super) fn never_cancelled() -> Arc<AtomicBool> {
    Arc::default()
}

pub(super) fn clone(from: &Path, to: &Path) -> std::io::Result<()> {
    if let Cloned::Copied { bytes } = files::clone_file(from, to)? {
        NO_REFLINK.call_once(|| {
            tracing::warn!(
                bytes,
                "the data directory's file system cannot share blocks: disks are copied; \
                 XFS or btrfs would make this instant"
            );
        });
    }
    Ok(())
}

pub(super) async fn blocking(
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<(), Error> {
    Context::blocking(work).await?.map_err(Error::internal)
}
