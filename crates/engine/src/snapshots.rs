//! Checkpoints.

use std::path::{Path, PathBuf};

use bhatti_host::extents::Usage;
use bhatti_host::files;
use bhatti_store::snapshot::{SnapshotRow, SnapshotStatus};
use bhatti_types::id::{SnapshotId, UserId};
use bhatti_types::name::SnapshotName;
use jiff::Timestamp;

use crate::checkpoint;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::request::Caller;
use crate::sandbox::handle::Handle;
use crate::view::SnapshotView;

pub(crate) fn view(row: SnapshotRow, usage: Option<Usage>) -> SnapshotView {
    SnapshotView {
        id: row.id,
        user: row.user,
        name: row.name,
        source: row.source_sandbox,
        memory: row.memory,
        disk_bytes: row.disk_bytes,
        usage,
        stall_ms: row.stall_ms,
        automatic: row.automatic,
        created_at: row.created_at,
    }
}

fn usage(dir: &Path) -> Option<Usage> {
    match checkpoint::usage(dir) {
        Ok(usage) => Some(usage),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what files take on disk can't be told"
            );
            None
        }
    }
}

impl Context {
    /// Takes a checkpoint of a sandbox.
    pub(crate) async fn snapshot_create(
        &self,
        caller: &Caller,
        source: &Handle,
        name: SnapshotName,
    ) -> Result<SnapshotView, Error> {
        let user = self.user_row(&caller.user).await?;
        let id = source.id.clone();
        let recorded = self.db(move |store| store.sandbox_get(&id)).await?;
        let Some(sandbox) = recorded else {
            let name = source.now().view.name.to_string();
            return Err(Error::NotFound {
                kind: Kind::Sandbox,
                name,
            });
        };
        // At most the whole memory and what the disk holds now.
        let disk = self
            .layout
            .sandbox(&sandbox.id)
            .join(bhatti_vmm::machine::file::DISK);
        let used = files::disk_usage(&disk).unwrap_or_default();
        self.room_on_disk(sandbox.memory.bytes() + used).await?;
        let row = SnapshotRow {
            id: SnapshotId::random(),
            user: sandbox.user,
            name,
            source_sandbox: sandbox.name,
            source_id: sandbox.id,
            status: SnapshotStatus::Creating,
            cpus: sandbox.cpus,
            memory: sandbox.memory,
            disk: sandbox.disk,
            image: sandbox.image,
            env: sandbox.env,
            labels: sandbox.labels,
            run_as: sandbox.run_as,
            workdir: sandbox.workdir,
            kit: sandbox.kit,
            engine: sandbox.engine,
            accelerator: sandbox.accelerator,
            stall_ms: 0,
            disk_bytes: 0,
            created_at: Timestamp::now(),
            automatic: false,
            egress: sandbox.egress,
            init: sandbox.init,
            run: sandbox.run,
        };
        let (inserted, limit) = (row.clone(), user.max_snapshots);
        self.db(move |store| store.snapshot_insert(&inserted, limit))
            .await?;
        let id = row.id.clone();
        match source.checkpoint(row).await {
            Ok(row) => self.snapshot_view(row).await,
            // The sandbox went away before it came to this; a plan that broke unwinds itself.
            Err(error @ Error::NotFound { .. }) => {
                self.db(move |store| store.snapshot_delete(&id)).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn snapshot_list(&self, user: &UserId) -> Result<Vec<SnapshotView>, Error> {
        let user = user.clone();
        let rows = self
            .db(move |store| store.snapshot_list(Some(&user)))
            .await?;
        let ready = rows
            .into_iter()
            .filter(|row| row.status == SnapshotStatus::Ready);
        let rows: Vec<_> = ready.collect();
        let dirs = rows.iter().map(|row| self.layout.snapshot(&row.id));
        let usages = Self::usages(dirs.collect()).await?;
        let views = rows.into_iter().zip(usages);
        Ok(views.map(|(row, usage)| view(row, usage)).collect())
    }

    async fn snapshot_view(&self, row: SnapshotRow) -> Result<SnapshotView, Error> {
        let usages = Self::usages(vec![self.layout.snapshot(&row.id)]).await?;
        Ok(view(row, usages.into_iter().next().flatten()))
    }

    /// What directories take on disk now; `None` for those of which it can't be told.
    pub(crate) async fn usages(dirs: Vec<PathBuf>) -> Result<Vec<Option<Usage>>, Error> {
        Self::blocking(move || dirs.iter().map(|dir| usage(dir)).collect()).await
    }

    pub(crate) async fn snapshot_get(
        &self,
        user: &UserId,
        name: &SnapshotName,
    ) -> Result<SnapshotView, Error> {
        let row = self.snapshot_row(user, name).await?;
        self.snapshot_view(row).await
    }

    /// Deletes a checkpoint: first the record, so that what is half deleted is not shown.
    pub(crate) async fn snapshot_delete(
        &self,
        user: &UserId,
        name: &SnapshotName,
    ) -> Result<(), Error> {
        let row = self.snapshot_row(user, name).await?;
        let id = row.id.clone();
        self.db(move |store| store.snapshot_delete(&id)).await?;
        crate::sandbox::remove_snapshot(self, row.id).await
    }

    /// A checkpoint that is ready.
    pub(crate) async fn snapshot_row(
        &self,
        user: &UserId,
        name: &SnapshotName,
    ) -> Result<SnapshotRow, Error> {
        let (user, wanted) = (user.clone(), name.clone());
        let row = self
            .db(move |store| store.snapshot_by_name(&user, &wanted))
            .await?;
        row.filter(|row| row.status == SnapshotStatus::Ready)
            .ok_or_else(|| Error::NotFound {
                kind: Kind::Snapshot,
                name: name.to_string(),
            })
    }
}
