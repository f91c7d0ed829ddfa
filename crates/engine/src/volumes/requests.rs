//! What users ask for about volumes.

use bhatti_host::files;
use bhatti_store::attachment::AttachedVolume;
use bhatti_store::store::Store;
use bhatti_store::user::UserRow;
use bhatti_store::volume::{VolumeRow, VolumeStatus};
use bhatti_types::id::{SnapshotId, UserId, VolumeId};
use bhatti_types::invalid::Invalid;
use bhatti_types::mount::MAX_VOLUMES;
use bhatti_types::name::VolumeName;
use bhatti_types::size::VolumeMb;
use jiff::Timestamp;

use super::backups::unfinished;
use super::copies::{NewVolumes, Wanted};
use super::disk::{self, blocking};
use crate::checkpoint::{self, Depth, SavedVolume};
use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::layout::file;
use crate::recovery::{directories, remove_half_made};
use crate::request::{Caller, NewAttachment};
use crate::view::{HolderView, SandboxView, VolumeView};

/// What a new volume takes on disk at once, at most, in bytes: the tables of its file system.
const NEW_VOLUME: u64 = 16 << 20;

/// The volumes of a sandbox that is about to be made.
pub(crate) struct VolumesFor {
    /// All of them.
    pub(crate) new: NewVolumes,
    /// Those that were made for it just now.
    pub(crate) made: Vec<VolumeId>,
}

impl Engine {
    /// Makes an empty volume.
    pub async fn volume_create(
        &self,
        caller: &Caller,
        name: VolumeName,
        size: VolumeMb,
    ) -> Result<VolumeView, Error> {
        let (engine, user) = (self.clone(), caller.user.clone());
        self.owned(async move {
            let user = engine.ctx.user_row(&user).await?;
            let row = engine.ctx.volume_make(&user, name, size).await?;
            engine.volume_view(row).await
        })
        .await
    }

    /// The caller's volumes, by name.
    pub async fn volume_list(&self, caller: &Caller) -> Result<Vec<VolumeView>, Error> {
        let user = caller.user.clone();
        let (rows, attached) = self
            .ctx
            .db(move |store| {
                store.read(|txn| Ok((txn.volume_list(Some(&user))?, txn.attachment_list()?)))
            })
            .await?;
        let ready = |row: &VolumeRow| row.status == VolumeStatus::Ready;
        self.volume_views(rows.into_iter().filter(ready).collect(), &attached)
            .await
    }

    /// One volume.
    pub async fn volume_get(
        &self,
        caller: &Caller,
        name: &VolumeName,
    ) -> Result<VolumeView, Error> {
        let row = self.ctx.volume_row(&caller.user, name).await?;
        self.volume_view(row).await
    }

    /// Deletes a volume that nobody has.
    pub async fn volume_delete(&self, caller: &Caller, name: &VolumeName) -> Result<(), Error> {
        let (ctx, user, name) = (self.ctx.clone(), caller.user.clone(), name.clone());
        self.owned(async move {
            let row = ctx.volume_row(&user, &name).await?;
            let _claims = ctx.volume_claims.claim([row.id.clone()]).await?;
            ctx.volume_forget(row.id).await
        })
        .await
    }

    /// Makes a volume larger, at once if a sandbox writes to it.
    pub async fn volume_resize(
        &self,
        caller: &Caller,
        name: &VolumeName,
        size: VolumeMb,
    ) -> Result<VolumeView, Error> {
        let (engine, user, name) = (self.clone(), caller.user.clone(), name.clone());
        self.owned(async move { engine.resize(&user, &name, size).await })
            .await
    }

    async fn resize(
        &self,
        user: &UserId,
        name: &VolumeName,
        size: VolumeMb,
    ) -> Result<VolumeView, Error> {
        let row = self.ctx.volume_row(user, name).await?;
        let _claims = self.ctx.volume_claims.claim([row.id.clone()]).await?;
        if size < row.size {
            let text = format!("volume {name} has {} MB and can only grow", row.size);
            return Err(Invalid::new("volume size", &size.to_string(), text).into());
        }
        let attached = self.attached(&row.id).await?;
        if attached.iter().any(|it| it.at.read_only) {
            return Err(Error::Conflict {
                message: format!("volume {:?} is being read and can't grow", name.as_str()),
                hint: Some("detach it from those who read it first".to_owned()),
            });
        }
        let limit = self.ctx.user_row(user).await?.max_volume_mb;
        let id = row.id.clone();
        let grow = move |store: &Store| store.volume_grow(&id, size, limit);
        let row = self.ctx.db(grow).await?;
        if let Some(writer) = attached.first() {
            if let Some(handle) = self.directory.by_id(&writer.at.sandbox) {
                handle.grow_volume(row.id.clone(), size).await?;
            }
        } else {
            let path = self.ctx.layout.volume_disk(&row.id);
            blocking(move || disk::lengthen(&path, size)).await?;
        }
        self.volume_view(row).await
    }

    /// Makes a volume that holds what another holds now. One that is written to stands still for a
    /// moment.
    pub async fn volume_clone(
        &self,
        caller: &Caller,
        source: &VolumeName,
        name: VolumeName,
    ) -> Result<VolumeView, Error> {
        let (engine, user, source) = (self.clone(), caller.user.clone(), source.clone());
        self.owned(async move { engine.clone_volume(&user, &source, name).await })
            .await
    }

    async fn clone_volume(
        &self,
        user: &UserId,
        source: &VolumeName,
        name: VolumeName,
    ) -> Result<VolumeView, Error> {
        let source = self.ctx.volume_row(user, source).await?;
        let _claims = self.ctx.volume_claims.claim([source.id.clone()]).await?;
        let user = self.ctx.user_row(user).await?;
        let used = files::disk_usage(&self.ctx.layout.volume_disk(&source.id));
        self.ctx.room_on_disk(used.unwrap_or_default()).await?;
        let row = new_row(&user, name, source.size);
        let (inserted, limit) = (row.clone(), user.max_volume_mb);
        self.ctx
            .db(move |store| store.volume_insert(&inserted, limit))
            .await?;
        if let Err(error) = self.fill_clone(&source, &row).await {
            self.ctx.volume_forget(row.id).await?;
            return Err(error);
        }
        self.volume_view(row).await
    }

    async fn fill_clone(&self, source: &VolumeRow, row: &VolumeRow) -> Result<(), Error> {
        let layout = &self.ctx.layout;
        let (half, whole) = (layout.volume_half(&row.id), layout.volume(&row.id));
        let (dir, size) = (half.clone(), row.size);
        blocking(move || fs_err::create_dir(dir)).await?;
        self.capture(&source.id, half.join(file::DISK)).await?;
        blocking(move || {
            let disk = half.join(file::DISK);
            disk::lengthen(&disk, size)?;
            files::sync_file(&disk)?;
            files::sync_dir(&half)?;
            files::rename_durable(&half, &whole)
        })
        .await?;
        let id = row.id.clone();
        self.ctx.db(move |store| store.volume_is_ready(&id)).await
    }

    /// Copies a volume's disk as it is at one moment. The volume is claimed.
    pub(crate) async fn capture(
        &self,
        volume: &VolumeId,
        to: std::path::PathBuf,
    ) -> Result<(), Error> {
        let attached = self.attached(volume).await?;
        let writer = attached.iter().find(|it| !it.at.read_only);
        let writer = writer.and_then(|it| self.directory.by_id(&it.at.sandbox));
        if let Some(writer) = writer {
            return writer.capture_volume(volume.clone(), to).await;
        }
        let from = self.ctx.layout.volume_disk(volume);
        blocking(move || files::clone_file(&from, &to).map(drop)).await
    }

    /// Gives a sandbox a volume, at once if it runs.
    pub async fn volume_attach(
        &self,
        caller: &Caller,
        sandbox: &str,
        new: NewAttachment,
    ) -> Result<SandboxView, Error> {
        let (engine, caller, sandbox) = (self.clone(), caller.clone(), sandbox.to_owned());
        self.owned(async move {
            let handle = engine.find(&caller, &sandbox)?;
            let row = engine.ctx.volume_row(&caller.user, &new.name).await?;
            let _claims = engine.ctx.volume_claims.claim([row.id.clone()]).await?;
            engine.ctx.check_free(&row).await?;
            let wanted = Wanted {
                volume: row.id,
                mount: new.mount,
                read_only: new.read_only,
            };
            handle.attach(wanted).await
        })
        .await
    }

    /// Takes a volume from a sandbox. What its guest has written to it is on the disk then.
    pub async fn volume_detach(
        &self,
        caller: &Caller,
        sandbox: &str,
        name: &VolumeName,
    ) -> Result<SandboxView, Error> {
        let (engine, caller, sandbox) = (self.clone(), caller.clone(), sandbox.to_owned());
        let name = name.clone();
        self.owned(async move {
            let handle = engine.find(&caller, &sandbox)?;
            let row = engine.ctx.volume_row(&caller.user, &name).await?;
            handle.detach(row.id).await
        })
        .await
    }

    async fn attached(&self, volume: &VolumeId) -> Result<Vec<AttachedVolume>, Error> {
        let id = volume.clone();
        let mut all = self.ctx.db(Store::attachment_list).await?;
        all.retain(|it| it.at.volume == id);
        Ok(all)
    }

    pub(crate) async fn volume_view(&self, row: VolumeRow) -> Result<VolumeView, Error> {
        let attached = self.attached(&row.id).await?;
        let views = self.volume_views(vec![row], &attached).await?;
        let view = views.into_iter().next();
        view.ok_or_else(|| Error::internal("a volume without a view"))
    }

    async fn volume_views(
        &self,
        rows: Vec<VolumeRow>,
        attached: &[AttachedVolume],
    ) -> Result<Vec<VolumeView>, Error> {
        let dirs = rows.iter().map(|row| self.ctx.layout.volume(&row.id));
        let usages = Context::usages(dirs.collect()).await?;
        let holder = |it: &AttachedVolume| HolderView {
            sandbox: it.at.sandbox.clone(),
            name: self
                .directory
                .by_id(&it.at.sandbox)
                .map(|handle| handle.look(|view| view.name.clone())),
            mount: it.at.mount.clone(),
            read_only: it.at.read_only,
            owned: it.at.owned,
        };
        let view = |(row, usage): (VolumeRow, _)| VolumeView {
            holders: attached
                .iter()
                .filter(|it| it.at.volume == row.id)
                .map(holder)
                .collect(),
            id: row.id,
            user: row.user,
            name: row.name,
            size: row.size,
            usage,
            created_at: row.created_at,
        };
        Ok(rows.into_iter().zip(usages).map(view).collect())
    }
}

impl Context {
    /// A volume that is whole.
    pub(crate) async fn volume_row(
        &self,
        user: &UserId,
        name: &VolumeName,
    ) -> Result<VolumeRow, Error> {
        let (user, wanted) = (user.clone(), name.clone());
        let row = self
            .db(move |store| store.volume_by_name(&user, &wanted))
            .await?;
        row.filter(|row| row.status == VolumeStatus::Ready)
            .ok_or_else(|| Error::NotFound {
                kind: Kind::Volume,
                name: name.to_string(),
            })
    }

    /// Makes an empty volume: recorded first, hidden, and shown once it is durable.
    pub(crate) async fn volume_make(
        &self,
        user: &UserRow,
        name: VolumeName,
        size: VolumeMb,
    ) -> Result<VolumeRow, Error> {
        self.room_on_disk(NEW_VOLUME).await?;
        let row = new_row(user, name, size);
        let (inserted, limit) = (row.clone(), user.max_volume_mb);
        self.db(move |store| store.volume_insert(&inserted, limit))
            .await?;
        let (half, whole) = (
            self.layout.volume_half(&row.id),
            self.layout.volume(&row.id),
        );
        let id = row.id.clone();
        let made = match disk::make(half, whole, size).await {
            Ok(()) => self.db(move |store| store.volume_is_ready(&id)).await,
            Err(error) => Err(error),
        };
        match made {
            Ok(()) => Ok(row),
            Err(error) => {
                self.volume_forget(row.id).await?;
                Err(error)
            }
        }
    }

    /// Deletes a volume: first the record, so that what is half deleted is not shown.
    async fn volume_forget(&self, id: VolumeId) -> Result<(), Error> {
        let forgotten = id.clone();
        self.db(move |store| store.volume_delete(&forgotten))
            .await?;
        let (half, whole) = (self.layout.volume_half(&id), self.layout.volume(&id));
        blocking(move || files::remove_tree(&half).and_then(|()| files::remove_tree(&whole))).await
    }

    /// Checks the file system of a volume that is claimed, if nobody has it. Where somebody reads
    /// it, it was checked before and nobody has written to it since; where somebody writes to it,
    /// it is refused in the end.
    async fn check_free(&self, row: &VolumeRow) -> Result<(), Error> {
        let id = row.id.clone();
        let holders = self.db(move |store| store.holders(&id)).await?;
        if holders.is_empty() {
            disk::check(self.layout.volume(&row.id), row.name.as_str()).await?;
        }
        Ok(())
    }

    /// Finds, or makes, claims and checks what a new sandbox is to have.
    pub(crate) async fn volumes_for(
        &self,
        user: &UserRow,
        asked: &[NewAttachment],
    ) -> Result<VolumesFor, Error> {
        if asked.len() > MAX_VOLUMES {
            return Err(Invalid::new(
                "number of volumes",
                &asked.len().to_string(),
                format!("a sandbox can have at most {MAX_VOLUMES} volumes"),
            )
            .into());
        }
        let mut made = Vec::new();
        let found = self.find_volumes(user, asked, &mut made).await;
        match found {
            Ok(new) => Ok(VolumesFor { new, made }),
            Err(error) => {
                self.take_back_volumes(made).await;
                Err(error)
            }
        }
    }

    async fn find_volumes(
        &self,
        user: &UserRow,
        asked: &[NewAttachment],
        made: &mut Vec<VolumeId>,
    ) -> Result<NewVolumes, Error> {
        if asked.is_empty() {
            return Ok(NewVolumes::default());
        }
        let mut rows = Vec::new();
        for one in asked {
            let found = self.volume_row(&user.id, &one.name).await;
            rows.push(match (found, one.create) {
                (Err(Error::NotFound { .. }), Some(size)) => {
                    let row = self.volume_make(user, one.name.clone(), size).await?;
                    made.push(row.id.clone());
                    row
                }
                (found, _) => found?,
            });
        }
        let ids = rows.iter().map(|row| row.id.clone());
        let claims = self.volume_claims.claim(ids).await?;
        for row in &rows {
            self.check_free(row).await?;
        }
        let wanted = asked.iter().zip(rows).map(|(one, row)| Wanted {
            volume: row.id,
            mount: one.mount.clone(),
            read_only: one.read_only,
        });
        Ok(NewVolumes::wanted(wanted.collect(), claims))
    }

    /// Deletes volumes that were made for a sandbox which was not.
    pub(crate) async fn take_back_volumes(&self, made: Vec<VolumeId>) {
        for id in made {
            if let Err(error) = self.volume_forget(id).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a volume made for a sandbox that was not made was left"
                );
            }
        }
    }

    /// The volumes that a checkpoint's machine had.
    pub(crate) async fn saved_volumes(&self, id: &SnapshotId) -> Result<Vec<SavedVolume>, Error> {
        let dir = self.layout.snapshot(id);
        let manifest = Self::blocking(move || checkpoint::verify(&dir, Depth::Sizes)).await??;
        Ok(manifest.volumes)
    }

    /// Deletes what an earlier daemon left of volumes that it made or deleted, and gives those
    /// whose growth was cut off their length.
    pub(crate) async fn sweep_volumes(&self) -> Result<(), Error> {
        let rows = self.db(|store| store.volume_list(None)).await?;
        let attached = self.db(Store::attachment_list).await?;
        let mut kept = Vec::new();
        for row in rows {
            let is_attached = attached.iter().any(|it| it.at.volume == row.id);
            if row.status == VolumeStatus::Ready || is_attached {
                kept.push(row.id);
            } else {
                let id = row.id;
                self.db(move |store| store.volume_delete(&id)).await?;
            }
        }
        let dir = self.layout.volumes();
        blocking(move || {
            remove_half_made(&dir)?;
            for id in directories::<VolumeId>(&dir)? {
                if !kept.contains(&id) {
                    tracing::info!(volume = %id, "a volume that nobody knows is deleted");
                    files::remove_tree(&dir.join(id.as_str()))?;
                    continue;
                }
                for path in unfinished(&dir.join(id.as_str())) {
                    files::remove_file(&path)?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn new_row(user: &UserRow, name: VolumeName, size: VolumeMb) -> VolumeRow {
    VolumeRow {
        id: VolumeId::random(),
        user: user.id.clone(),
        name,
        status: VolumeStatus::Creating,
        size,
        generation: 0,
        created_at: Timestamp::now(),
    }
}
