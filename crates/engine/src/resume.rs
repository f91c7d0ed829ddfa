//! Requests about checkpoints, and new sandboxes that go on from one.

use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_store::sandbox::SandboxRow;
use bhatti_types::id::SandboxId;
use bhatti_types::idle::IdleSettings;
use bhatti_types::name::{SandboxName, SnapshotName};
use bhatti_types::parent::Parent;
use jiff::Timestamp;

use crate::engine::{Engine, limits};
use crate::error::Error;
use crate::request::Caller;
use crate::sandbox::work::{Material, Saved, Trust};
use crate::view::{RolledBackView, SandboxView, SnapshotView};
use crate::volumes::copies::NewVolumes;

impl Engine {
    /// Takes a checkpoint of a sandbox; one that runs goes on.
    pub async fn snapshot_create(
        &self,
        caller: &Caller,
        key: &str,
        name: SnapshotName,
    ) -> Result<SnapshotView, Error> {
        let handle = self.find(caller, key)?;
        let (ctx, caller) = (self.ctx.clone(), caller.clone());
        self.owned(async move { ctx.snapshot_create(&caller, &handle, name).await })
            .await
    }

    /// The caller's checkpoints, oldest first.
    pub async fn snapshot_list(&self, caller: &Caller) -> Result<Vec<SnapshotView>, Error> {
        self.ctx.snapshot_list(&caller.user).await
    }

    /// One checkpoint.
    pub async fn snapshot_get(
        &self,
        caller: &Caller,
        name: &SnapshotName,
    ) -> Result<SnapshotView, Error> {
        self.ctx.snapshot_get(&caller.user, name).await
    }

    /// Deletes a checkpoint; sandboxes resumed from it go on.
    pub async fn snapshot_delete(&self, caller: &Caller, name: &SnapshotName) -> Result<(), Error> {
        let (ctx, user, name) = (self.ctx.clone(), caller.user.clone(), name.clone());
        self.owned(async move { ctx.snapshot_delete(&user, &name).await })
            .await
    }

    /// Makes a new sandbox that goes on from a checkpoint.
    pub async fn snapshot_resume(
        &self,
        caller: &Caller,
        name: &SnapshotName,
        sandbox: Option<SandboxName>,
    ) -> Result<SandboxView, Error> {
        let (engine, caller, name) = (self.clone(), caller.clone(), name.clone());
        self.owned(async move { engine.resume(&caller, &name, sandbox).await })
            .await
    }

    async fn resume(
        &self,
        caller: &Caller,
        name: &SnapshotName,
        sandbox: Option<SandboxName>,
    ) -> Result<SandboxView, Error> {
        let user = self.ctx.user_row(&caller.user).await?;
        let snapshot = self.ctx.snapshot_row(&caller.user, name).await?;
        limits(&user).check(snapshot.cpus, snapshot.memory)?;
        self.ctx.refuse_if_going_down()?;
        let _room = self.ctx.admission.room(snapshot.memory, None).await?;
        self.ctx.room_on_disk(snapshot.disk_bytes).await?;
        let row = SandboxRow {
            id: SandboxId::random(),
            user: caller.user.clone(),
            name: match sandbox {
                Some(name) => name,
                None => self.free_name(caller)?,
            },
            status: State::Creating.shown().0,
            thermal: State::Creating.shown().1,
            reason: None,
            image: snapshot.image.clone(),
            cpus: snapshot.cpus,
            memory: snapshot.memory,
            disk: snapshot.disk,
            env: snapshot.env.clone(),
            labels: snapshot.labels.clone(),
            run_as: snapshot.run_as.clone(),
            workdir: snapshot.workdir.clone(),
            kit: snapshot.kit.clone(),
            engine: snapshot.engine.clone(),
            accelerator: snapshot.accelerator.clone(),
            resumed_from: Some(snapshot.name.clone()),
            machine: None,
            created_at: Timestamp::now(),
            stopped_at: None,
            idle: IdleSettings::default(),
            used_at: None,
            wake_at: None,
            parent: Some(Parent::Snapshot(snapshot.id.clone())),
            address: None,
            egress: snapshot.egress.clone(),
            init: snapshot.init,
            run: snapshot.run.clone(),
        };
        let saved = self.ctx.saved_volumes(&snapshot.id).await?;
        let volumes = NewVolumes::copied(saved.clone(), user.max_volume_mb);
        let material = Material::Saved(Saved {
            dir: self.ctx.layout.snapshot(&snapshot.id),
            trust: Trust::Manifest,
            accelerator: snapshot.accelerator.clone(),
            snapshot: Some(snapshot.id),
            volumes: saved,
        });
        match self
            .make(&user, row, PlanKind::Resume, material, &volumes)
            .await
        {
            Ok(sandbox) => Ok(sandbox),
            // Deleted meanwhile: that is why it failed.
            Err(error) => match self.ctx.snapshot_row(&caller.user, name).await {
                Err(gone @ Error::NotFound { .. }) => Err(gone),
                Ok(_) | Err(_) => Err(error),
            },
        }
    }

    /// Puts a sandbox back to one of its checkpoints, in place. What it is now is kept as an
    /// automatic checkpoint; `force` also if there is no memory to keep.
    pub async fn sandbox_rollback(
        &self,
        caller: &Caller,
        key: &str,
        to: SnapshotName,
        force: bool,
    ) -> Result<RolledBackView, Error> {
        let handle = self.find(caller, key)?;
        let (ctx, caller) = (self.ctx.clone(), caller.clone());
        self.owned(async move { ctx.rollback(&caller, &handle, &to, force).await })
            .await
    }
}
