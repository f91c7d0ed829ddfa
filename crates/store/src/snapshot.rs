//! Checkpoints.

use bhatti_types::egress::Egress;
use bhatti_types::env::Env;
use bhatti_types::id::{SandboxId, SnapshotId, UserId};
use bhatti_types::labels::Labels;
use bhatti_types::name::{ImageName, SandboxName, SnapshotName};
use bhatti_types::run::{Init, RunSpec};
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus};
use jiff::Timestamp;
use rusqlite::{Row, named_params};

use crate::column::{
    count, count_value, json, json_option, json_text, parsed, size, time_text, word,
};
use crate::error::{Entity, StoreError};
use crate::sandbox::INITS;
use crate::store::{Store, Txn};

/// How far a checkpoint has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotStatus {
    /// Being taken; users do not see it.
    Creating,
    /// Whole and durable.
    Ready,
}

impl SnapshotStatus {
    const ALL: [Self; 2] = [Self::Creating, Self::Ready];

    /// The word as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
        }
    }
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its id.
    pub id: SnapshotId,
    /// Its owner.
    pub user: UserId,
    /// Its name, unique among its owner's checkpoints.
    pub name: SnapshotName,
    /// Name of the sandbox it was taken of, at that time.
    pub source_sandbox: SandboxName,
    /// Id of the sandbox it was taken of.
    pub source_id: SandboxId,
    /// How far it has come.
    pub status: SnapshotStatus,
    /// vCPUs of the machine.
    pub cpus: Vcpus,
    /// Memory of the machine.
    pub memory: MemoryMb,
    /// Disk of the machine.
    pub disk: DiskMb,
    /// Image the source was made from.
    pub image: ImageName,
    /// Environment of every command.
    pub env: Env,
    /// Labels.
    pub labels: Labels,
    /// User that commands run as, from the image if none was asked for; root if missing.
    pub run_as: Option<String>,
    /// Directory that commands start in, if it is not their user's home.
    pub workdir: Option<String>,
    /// Id of the guest kit the machine runs on.
    pub kit: String,
    /// Engine the machine ran on.
    pub engine: String,
    /// `kvm` or `tcg`.
    pub accelerator: Option<String>,
    /// How long the source stood still, in milliseconds.
    pub stall_ms: u64,
    /// What its files take on disk, in bytes.
    pub disk_bytes: u64,
    /// When it was taken; kept to the millisecond.
    pub created_at: Timestamp,
    /// Whether bhatti took it by itself, before a rollback. Such ones do not count against the
    /// limit.
    pub automatic: bool,
    /// What the machine may reach.
    pub egress: Egress,
    /// What process 1 of the machine is.
    pub init: Init,
    /// The program that the machine keeps running.
    pub run: Option<RunSpec>,
}

impl SnapshotRow {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: parsed(row, "id")?,
            user: parsed(row, "user_id")?,
            name: parsed(row, "name")?,
            source_sandbox: parsed(row, "source_sandbox")?,
            source_id: parsed(row, "source_id")?,
            status: word(row, "status", &SnapshotStatus::ALL, SnapshotStatus::as_str)?,
            cpus: size(row, "cpus")?,
            memory: size(row, "memory_mb")?,
            disk: size(row, "disk_mb")?,
            image: parsed(row, "image")?,
            env: json(row, "env")?,
            labels: json(row, "labels")?,
            run_as: row.get("run_as")?,
            workdir: row.get("workdir")?,
            kit: row.get("kit")?,
            engine: row.get("engine")?,
            accelerator: row.get("accelerator")?,
            stall_ms: count(row, "stall_ms")?,
            disk_bytes: count(row, "disk_bytes")?,
            created_at: parsed(row, "created_at")?,
            automatic: row.get("automatic")?,
            egress: json(row, "egress")?,
            init: word(row, "init", &INITS, Init::as_str)?,
            run: json_option(row, "run")?,
        })
    }
}

impl Txn<'_> {
    /// Adds a checkpoint.
    ///
    /// [`StoreError::Exists`] if its owner has another of that name, else [`StoreError::Quota`]
    /// if its owner has `limit` already, those being taken included.
    pub fn snapshot_insert(&self, snapshot: &SnapshotRow, limit: u32) -> Result<(), StoreError> {
        self.snapshot_name_is_free(snapshot)?;
        if !snapshot.automatic && self.snapshot_count(&snapshot.user)? >= limit {
            return Err(StoreError::Quota {
                entity: Entity::Snapshot,
                limit,
            });
        }
        self.snapshot_execute(
            "INSERT INTO snapshots (id, user_id, name, source_sandbox, source_id, status, cpus, \
             memory_mb, disk_mb, image, env, labels, run_as, workdir, kit, engine, accelerator, stall_ms, \
             disk_bytes, created_at, automatic, init, run, egress) VALUES (:id, :user_id, :name, :source_sandbox, :source_id, \
             :status, :cpus, :memory_mb, :disk_mb, :image, :env, :labels, :run_as, :workdir, :kit, :engine, \
             :accelerator, :stall_ms, :disk_bytes, :created_at, :automatic, :init, :run, :egress)",
            snapshot,
        )
        .map_err(StoreError::sql("add a snapshot"))?;
        Ok(())
    }

    /// Writes all columns of a checkpoint anew.
    ///
    /// [`StoreError::NotFound`] if it is not there, [`StoreError::Exists`] if another has its
    /// name.
    pub fn snapshot_update(&self, snapshot: &SnapshotRow) -> Result<(), StoreError> {
        self.snapshot_name_is_free(snapshot)?;
        let changed = self
            .snapshot_execute(
                "UPDATE snapshots SET user_id = :user_id, name = :name, \
                 source_sandbox = :source_sandbox, source_id = :source_id, status = :status, \
                 cpus = :cpus, memory_mb = :memory_mb, disk_mb = :disk_mb, image = :image, \
                 env = :env, labels = :labels, run_as = :run_as, workdir = :workdir, kit = :kit, engine = :engine, \
                 accelerator = :accelerator, stall_ms = :stall_ms, disk_bytes = :disk_bytes, \
                 created_at = :created_at, automatic = :automatic, init = :init, run = :run, egress = :egress WHERE id = :id",
                snapshot,
            )
            .map_err(StoreError::sql("change a snapshot"))?;
        if changed == 0 {
            return Err(StoreError::NotFound {
                entity: Entity::Snapshot,
                name: snapshot.id.to_string(),
            });
        }
        Ok(())
    }

    fn snapshot_name_is_free(&self, snapshot: &SnapshotRow) -> Result<(), StoreError> {
        match self.snapshot_by_name(&snapshot.user, &snapshot.name)? {
            Some(other) if other.id != snapshot.id => Err(StoreError::Exists {
                entity: Entity::Snapshot,
                name: snapshot.name.to_string(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn snapshot_execute(&self, sql: &str, snapshot: &SnapshotRow) -> rusqlite::Result<usize> {
        self.raw.prepare_cached(sql)?.execute(named_params! {
            ":id": snapshot.id.as_str(),
            ":user_id": snapshot.user.as_str(),
            ":name": snapshot.name.as_str(),
            ":source_sandbox": snapshot.source_sandbox.as_str(),
            ":source_id": snapshot.source_id.as_str(),
            ":status": snapshot.status.as_str(),
            ":cpus": snapshot.cpus.get(),
            ":memory_mb": snapshot.memory.get(),
            ":disk_mb": snapshot.disk.get(),
            ":image": snapshot.image.as_str(),
            ":env": json_text(snapshot.env.as_map()),
            ":labels": json_text(snapshot.labels.as_map()),
            ":run_as": snapshot.run_as,
            ":workdir": snapshot.workdir,
            ":kit": snapshot.kit,
            ":engine": snapshot.engine,
            ":accelerator": snapshot.accelerator,
            ":stall_ms": count_value(snapshot.stall_ms),
            ":disk_bytes": count_value(snapshot.disk_bytes),
            ":created_at": time_text(snapshot.created_at),
            ":automatic": snapshot.automatic,
            ":egress": json_text(&snapshot.egress),
            ":init": snapshot.init.as_str(),
            ":run": snapshot.run.as_ref().map(json_text),
        })
    }

    /// Deletes a checkpoint; one that is not there is deleted already.
    pub fn snapshot_delete(&self, id: &SnapshotId) -> Result<(), StoreError> {
        self.raw
            .execute("DELETE FROM snapshots WHERE id = ?1", [id.as_str()])
            .map_err(StoreError::sql("delete a snapshot"))?;
        Ok(())
    }

    /// The checkpoints of one user or of all, oldest first, those being taken included.
    pub fn snapshot_list(&self, user: Option<&UserId>) -> Result<Vec<SnapshotRow>, StoreError> {
        self.all(
            "list snapshots",
            "SELECT * FROM snapshots WHERE ?1 IS NULL OR user_id = ?1 ORDER BY created_at, id",
            [user.map(UserId::as_str)],
            SnapshotRow::from_row,
        )
    }

    /// The checkpoint of that id.
    pub fn snapshot_get(&self, id: &SnapshotId) -> Result<Option<SnapshotRow>, StoreError> {
        self.one(
            "look up a snapshot",
            "SELECT * FROM snapshots WHERE id = ?1",
            [id.as_str()],
            SnapshotRow::from_row,
        )
    }

    /// The user's checkpoint of that name, whole or being taken.
    pub fn snapshot_by_name(
        &self,
        user: &UserId,
        name: &SnapshotName,
    ) -> Result<Option<SnapshotRow>, StoreError> {
        self.one(
            "look up a snapshot by name",
            "SELECT * FROM snapshots WHERE user_id = ?1 AND name = ?2",
            [user.as_str(), name.as_str()],
            SnapshotRow::from_row,
        )
    }

    /// How many checkpoints a user has, those being taken included, automatic ones not.
    pub fn snapshot_count(&self, user: &UserId) -> Result<u32, StoreError> {
        self.raw
            .query_row(
                "SELECT count(*) FROM snapshots WHERE user_id = ?1 AND automatic = 0",
                [user.as_str()],
                |row| row.get(0),
            )
            .map_err(StoreError::sql("count snapshots"))
    }
}

impl Store {
    /// [`Txn::snapshot_insert`] on its own.
    pub fn snapshot_insert(&self, snapshot: &SnapshotRow, limit: u32) -> Result<(), StoreError> {
        self.write(|txn| txn.snapshot_insert(snapshot, limit))
    }

    /// [`Txn::snapshot_update`] on its own.
    pub fn snapshot_update(&self, snapshot: &SnapshotRow) -> Result<(), StoreError> {
        self.write(|txn| txn.snapshot_update(snapshot))
    }

    /// [`Txn::snapshot_delete`] on its own.
    pub fn snapshot_delete(&self, id: &SnapshotId) -> Result<(), StoreError> {
        self.write(|txn| txn.snapshot_delete(id))
    }

    /// [`Txn::snapshot_list`] on its own.
    pub fn snapshot_list(&self, user: Option<&UserId>) -> Result<Vec<SnapshotRow>, StoreError> {
        self.read(|txn| txn.snapshot_list(user))
    }

    /// [`Txn::snapshot_get`] on its own.
    pub fn snapshot_get(&self, id: &SnapshotId) -> Result<Option<SnapshotRow>, StoreError> {
        self.read(|txn| txn.snapshot_get(id))
    }

    /// [`Txn::snapshot_by_name`] on its own.
    pub fn snapshot_by_name(
        &self,
        user: &UserId,
        name: &SnapshotName,
    ) -> Result<Option<SnapshotRow>, StoreError> {
        self.read(|txn| txn.snapshot_by_name(user, name))
    }
}
