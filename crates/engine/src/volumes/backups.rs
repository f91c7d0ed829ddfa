//! Backups of volumes: made, listed, read back and kept.
//!
//! What was backed up last is kept next to the volume as a copy that shares its blocks, with its
//! map: the next backup does not read what the two still share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bhatti_backup::directory::Directory;
use bhatti_backup::error::BackupError;
use bhatti_backup::format::{Map, Place, Summary};
use bhatti_backup::s3::S3;
use bhatti_backup::save::{self, Last};
use bhatti_backup::target::Target;
use bhatti_backup::{keep, restore};
use bhatti_host::files;
use bhatti_host::pool::settings::StorageKind;
use bhatti_store::volume::VolumeRow;
use bhatti_types::id::{BackupId, UserId};
use bhatti_types::name::VolumeName;
use bhatti_types::size::VolumeMb;

use super::claims::VolumeClaims;
use super::disk::{self, blocking};
use crate::config::{BackupSettings, BackupTarget};
use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::layout::file;
use crate::request::Caller;
use crate::view::{BackupView, VolumeView};

/// In a volume's directory: a copy that is being backed up.
const NEW: &str = "backup-new.raw";
/// The copy that was backed up last.
const LAST: &str = "backup-last.raw";
/// Its map, after a line that says where it was backed up to.
const LAST_MAP: &str = "backup-last.map";
/// A disk that is being read back.
const RESTORED: &str = "restore-new.raw";
/// Longest map with its line, in bytes.
const MAX_LAST_MAP: u64 = 256 << 20;

/// Where backups go, and who is at it.
pub(crate) struct Backups {
    s3: Option<Arc<dyn Target>>,
    directory: Option<Arc<dyn Target>>,
    /// One backup, or clean-up, of a volume at a time.
    claims: VolumeClaims,
}

impl Backups {
    pub(crate) fn new(settings: &BackupSettings) -> Result<Self, Error> {
        let s3 = match &settings.s3 {
            Some(s3) => {
                let s3: Arc<dyn Target> = Arc::new(S3::new(s3)?);
                Some(s3)
            }
            None => None,
        };
        let directory = settings.directory.clone().map(|root| {
            let directory: Arc<dyn Target> = Arc::new(Directory::new(root));
            directory
        });
        Ok(Self {
            s3,
            directory,
            claims: VolumeClaims::default(),
        })
    }

    /// The target that is meant, and its name.
    pub(super) fn target(
        &self,
        to: Option<BackupTarget>,
    ) -> Result<(BackupTarget, Arc<dyn Target>), Error> {
        let s3 = || self.s3.clone().map(|it| (BackupTarget::S3, it));
        let directory = || {
            self.directory
                .clone()
                .map(|it| (BackupTarget::Directory, it))
        };
        let found = match to {
            Some(BackupTarget::S3) => s3(),
            Some(BackupTarget::Directory) => directory(),
            None => s3().or_else(directory),
        };
        found.ok_or_else(|| Error::NotConfigured {
            message: match to {
                Some(to) => format!("backups to {} are not configured", to.as_str()),
                None => "backups are not configured".to_owned(),
            },
            hint: Some("set `backup` in the daemon's configuration".to_owned()),
        })
    }
}

pub(super) fn place(user: &UserId, name: &VolumeName) -> Place {
    Place::new(format!("volumes/{user}/{name}"))
}

impl Engine {
    /// Backs a volume up as it is at one moment. One that is written to stands still for it.
    pub async fn volume_backup(
        &self,
        caller: &Caller,
        name: &VolumeName,
        to: Option<BackupTarget>,
    ) -> Result<BackupView, Error> {
        let (engine, user, name) = (self.clone(), caller.user.clone(), name.clone());
        self.owned(async move { engine.back_up(&user, &name, to, None).await })
            .await
    }

    /// The same, and keeps only the newest afterwards.
    pub(crate) async fn back_up(
        &self,
        user: &UserId,
        name: &VolumeName,
        to: Option<BackupTarget>,
        retention: Option<usize>,
    ) -> Result<BackupView, Error> {
        let ctx = &self.ctx;
        let (to, target) = ctx.backups.target(to)?;
        let row = ctx.volume_row(user, name).await?;
        let _one = ctx.backups.claims.claim([row.id.clone()]).await?;
        let dir = ctx.layout.volume(&row.id);
        let copy = dir.join(NEW);
        let saved = async {
            self.copy_for_backup(&row, &copy).await?;
            let last = read_last(&dir, to).await;
            let place = place(user, name);
            let saved = save::save(&*target, &place, &copy, last).await?;
            if let Some(count) = retention {
                keep::keep_newest(&*target, &place, count).await?;
            }
            Ok::<_, Error>(saved)
        };
        let saved = saved.await;
        let kept = match (&saved, ctx.storage.kind()) {
            (Ok(saved), StorageKind::Reflink | StorageKind::Pool) => {
                let map = saved.map.to_bytes();
                blocking(move || keep_last(&dir, to, &map)).await
            }
            // A copy that shares nothing would double the volume.
            (Ok(_), StorageKind::Copy) | (Err(_), _) => {
                blocking(move || files::remove_file(&copy)).await
            }
        };
        let saved = saved?;
        if let Err(error) = kept {
            tracing::warn!(
                volume = %name,
                error = &error as &dyn std::error::Error,
                "what was backed up was not kept; the next backup reads all of the volume"
            );
        }
        tracing::info!(
            volume = %name,
            backup = %saved.summary.id,
            sent = saved.summary.sent_bytes,
            unread_chunks = saved.unread,
            "backed up"
        );
        Ok(view(saved.summary, to))
    }

    async fn copy_for_backup(&self, row: &VolumeRow, copy: &Path) -> Result<(), Error> {
        let used = files::disk_usage(&self.ctx.layout.volume_disk(&row.id));
        let needed = match self.ctx.storage.kind() {
            StorageKind::Reflink | StorageKind::Pool => 0,
            StorageKind::Copy => used.unwrap_or_default(),
        };
        self.ctx.room_on_disk(needed).await?;
        let _claims = self.ctx.volume_claims.claim([row.id.clone()]).await?;
        let stale = copy.to_owned();
        blocking(move || files::remove_file(&stale)).await?;
        self.capture(&row.id, copy.to_owned()).await
    }

    /// The backups of a volume, also of one that is gone, oldest first.
    pub async fn volume_backups(
        &self,
        caller: &Caller,
        name: &VolumeName,
        to: Option<BackupTarget>,
    ) -> Result<Vec<BackupView>, Error> {
        let (to, target) = self.ctx.backups.target(to)?;
        let all = keep::list(&*target, &place(&caller.user, name)).await?;
        Ok(all.into_iter().map(|summary| view(summary, to)).collect())
    }

    /// Deletes a backup, and what no other needs.
    pub async fn volume_backup_delete(
        &self,
        caller: &Caller,
        name: &VolumeName,
        id: &BackupId,
        to: Option<BackupTarget>,
    ) -> Result<(), Error> {
        let (ctx, user) = (self.ctx.clone(), caller.user.clone());
        let (name, id) = (name.clone(), id.clone());
        self.owned(async move {
            let (_, target) = ctx.backups.target(to)?;
            let row = ctx.volume_row(&user, &name).await.ok();
            let ids = row.map(|row| row.id);
            let _one = ctx.backups.claims.claim(ids).await?;
            Ok(keep::delete(&*target, &place(&user, &name), &id).await?)
        })
        .await
    }

    /// Puts a volume that nobody has back to what it was; one that is gone is made. If it fails,
    /// the volume is as it was.
    pub async fn volume_restore(
        &self,
        caller: &Caller,
        name: &VolumeName,
        id: &BackupId,
        to: Option<BackupTarget>,
    ) -> Result<VolumeView, Error> {
        let (engine, user) = (self.clone(), caller.user.clone());
        let (name, id) = (name.clone(), id.clone());
        self.owned(async move { engine.put_back(&user, &name, &id, to).await })
            .await
    }

    async fn put_back(
        &self,
        user: &UserId,
        name: &VolumeName,
        id: &BackupId,
        to: Option<BackupTarget>,
    ) -> Result<VolumeView, Error> {
        let ctx = &self.ctx;
        let (_, target) = ctx.backups.target(to)?;
        let place = place(user, name);
        let summary = restore::summary(&*target, &place, id).await?;
        let damaged = || {
            Error::from(BackupError::Damaged {
                what: "its size".to_owned(),
            })
        };
        let size = VolumeMb::new(summary.disk_bytes.div_ceil(1 << 20)).map_err(|_| damaged())?;
        let owner = ctx.user_row(user).await?;
        let (row, is_new) = match ctx.volume_row(user, name).await {
            Err(Error::NotFound { .. }) => {
                let made = ctx.volume_make(&owner, name.clone(), size).await?;
                (made, true)
            }
            found => (found?, false),
        };
        let restored = self
            .restore_into(&*target, &place, &summary, &row, size)
            .await;
        match restored {
            Ok(row) => self.volume_view(row).await,
            Err(error) => {
                if is_new {
                    ctx.take_back_volumes(vec![row.id]).await;
                }
                Err(error)
            }
        }
    }

    async fn restore_into(
        &self,
        target: &dyn Target,
        place: &Place,
        summary: &Summary,
        row: &VolumeRow,
        size: VolumeMb,
    ) -> Result<VolumeRow, Error> {
        let ctx = &self.ctx;
        // Nobody attaches it from here on.
        let _claims = ctx.volume_claims.claim([row.id.clone()]).await?;
        let (id, limit) = (row.id.clone(), ctx.user_row(&row.user).await?.max_volume_mb);
        let row = ctx
            .db(move |store| {
                store.write(|txn| {
                    txn.volume_is_free(&id)?;
                    // Before the swap: a volume that is recorded as larger than its file is made so.
                    txn.volume_grow(&id, size, limit)
                })
            })
            .await?;
        ctx.room_on_disk(summary.data_bytes).await?;
        let dir = ctx.layout.volume(&row.id);
        let (new, disk) = (dir.join(RESTORED), dir.join(file::DISK));
        let stale = new.clone();
        blocking(move || files::remove_file(&stale)).await?;
        let restored = async {
            restore::restore(target, place, summary, &new).await?;
            let (path, size) = (new.clone(), row.size);
            blocking(move || disk::lengthen(&path, size)).await?;
            let id = row.id.clone();
            ctx.db(move |store| store.volume_changes(&id)).await?;
            let from = new.clone();
            blocking(move || files::rename_durable(&from, &disk)).await
        };
        if let Err(error) = restored.await {
            blocking(move || files::remove_file(&new)).await?;
            return Err(error);
        }
        Ok(row)
    }
}

/// Reads what was backed up last, if that was to the same target. Whatever is wrong with it, it is
/// not used.
async fn read_last(dir: &Path, to: BackupTarget) -> Option<Last> {
    let dir = dir.to_owned();
    let read = move || {
        let (file, _) = fs_err::File::open(dir.join(LAST)).ok()?.into_parts();
        let bytes = files::read_bounded(&dir.join(LAST_MAP), MAX_LAST_MAP).ok()?;
        let line = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, map) = bytes.split_at(line);
        if head != to.as_str().as_bytes() {
            return None;
        }
        let map = Map::from_bytes(map.get(1..)?, file.metadata().ok()?.len()).ok()?;
        Some(Last { file, map })
    };
    Context::blocking(read).await.ok().flatten()
}

/// Keeps what was just backed up for the next time. The map is away while it is not that of the
/// copy.
fn keep_last(dir: &Path, to: BackupTarget, map: &[u8]) -> std::io::Result<()> {
    files::remove_file(&dir.join(LAST_MAP))?;
    files::sync_dir(dir)?;
    files::rename_durable(&dir.join(NEW), &dir.join(LAST))?;
    let bytes = [to.as_str().as_bytes(), b"\n", map].concat();
    files::write_durable(&dir.join(LAST_MAP), &bytes)
}

/// Files in a volume's directory that an earlier daemon did not come to the end of.
pub(super) fn unfinished(dir: &Path) -> [PathBuf; 2] {
    [dir.join(NEW), dir.join(RESTORED)]
}

fn view(summary: Summary, to: BackupTarget) -> BackupView {
    BackupView {
        id: summary.id,
        target: to,
        size_bytes: summary.disk_bytes,
        data_bytes: summary.data_bytes,
        sent_bytes: summary.sent_bytes,
        created_at: summary.created_at,
    }
}

impl From<BackupError> for Error {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::NotFound { id } => Self::NotFound {
                kind: Kind::Backup,
                name: id,
            },
            BackupError::Settings { .. } => Self::Unavailable {
                message: error.to_string(),
                hint: Some("look at `backup` in the daemon's configuration".to_owned()),
            },
            BackupError::Denied { .. } | BackupError::Refused { .. } => Self::Failed {
                message: error.to_string(),
                hint: Some("look at `backup` in the daemon's configuration".to_owned()),
                source: None,
            },
            BackupError::Unreachable { .. } => Self::Failed {
                message: error.to_string(),
                hint: Some("try again later: what was sent already is not sent again".to_owned()),
                source: Some(Box::new(error)),
            },
            BackupError::Damaged { .. } | BackupError::TooNew { .. } => Self::Failed {
                message: error.to_string(),
                hint: Some("restore another one: `bhatti volume backup-list`".to_owned()),
                source: None,
            },
            BackupError::Io { .. } => Self::internal(error),
        }
    }
}
