//! Sandboxes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use bhatti_types::egress::Egress;
use bhatti_types::env::Env;
use bhatti_types::id::{SandboxId, UserId};
use bhatti_types::idle::IdleSettings;
use bhatti_types::labels::Labels;
use bhatti_types::name::{ImageName, SandboxName, SnapshotName};
use bhatti_types::parent::Parent;
use bhatti_types::run::{Init, RunSpec};
use bhatti_types::size::{DiskMb, MemoryMb, Vcpus};
use bhatti_types::state::{Status, Thermal};
use jiff::Timestamp;
use rusqlite::{Row, named_params};

use crate::column::{json, json_option, json_text, parsed, parsed_option, size, time_text, word};
use crate::error::{Entity, StoreError};
use crate::store::{Store, Txn};

const STATUSES: [Status; 5] = [
    Status::Creating,
    Status::Running,
    Status::Stopped,
    Status::Failed,
    Status::Destroying,
];
const THERMALS: [Thermal; 4] = [Thermal::Hot, Thermal::Warm, Thermal::Cold, Thermal::Off];

pub(crate) const INITS: [Init; 2] = [Init::Lohar, Init::Systemd];

/// One sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxRow {
    /// Its id.
    pub id: SandboxId,
    /// Its owner.
    pub user: UserId,
    /// Its name, unique among its owner's sandboxes that are not being destroyed.
    pub name: SandboxName,
    /// Its status.
    pub status: Status,
    /// Where its memory is.
    pub thermal: Thermal,
    /// Why it failed or last ended unasked.
    pub reason: Option<String>,
    /// Image it was made from.
    pub image: ImageName,
    /// vCPUs.
    pub cpus: Vcpus,
    /// Memory.
    pub memory: MemoryMb,
    /// Disk.
    pub disk: DiskMb,
    /// Environment of every command.
    pub env: Env,
    /// Labels.
    pub labels: Labels,
    /// User that commands run as, from the image if none was asked for; root if missing.
    pub run_as: Option<String>,
    /// Directory that commands start in, if it is not their user's home.
    pub workdir: Option<String>,
    /// Id of the guest kit it boots from.
    pub kit: String,
    /// Engine it runs on.
    pub engine: String,
    /// `kvm` or `tcg`, once it has run.
    pub accelerator: Option<String>,
    /// The checkpoint it was resumed from.
    pub resumed_from: Option<SnapshotName>,
    /// What the engine needs to find the machine again: JSON that only the engine reads.
    pub machine: Option<String>,
    /// When it was made; kept to the millisecond.
    pub created_at: Timestamp,
    /// When it was last stopped; kept to the millisecond.
    pub stopped_at: Option<Timestamp>,
    /// What is set for it about idling.
    pub idle: IdleSettings,
    /// When it was last used, as far as it was recorded; kept to the millisecond.
    pub used_at: Option<Timestamp>,
    /// When its guest wants to be woken for a timer; kept to the millisecond.
    pub wake_at: Option<Timestamp>,
    /// Its address in its user's network, once it has had a machine with a network.
    pub address: Option<Ipv4Addr>,
    /// What it may reach.
    pub egress: Egress,
    /// What it descends from.
    pub parent: Option<Parent>,
    /// What its process 1 is.
    pub init: Init,
    /// The program that it keeps running.
    pub run: Option<RunSpec>,
}

impl SandboxRow {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: parsed(row, "id")?,
            user: parsed(row, "user_id")?,
            name: parsed(row, "name")?,
            status: word(row, "status", &STATUSES, Status::as_str)?,
            thermal: word(row, "thermal", &THERMALS, Thermal::as_str)?,
            reason: row.get("reason")?,
            image: parsed(row, "image")?,
            cpus: size(row, "cpus")?,
            memory: size(row, "memory_mb")?,
            disk: size(row, "disk_mb")?,
            env: json(row, "env")?,
            labels: json(row, "labels")?,
            run_as: row.get("run_as")?,
            workdir: row.get("workdir")?,
            kit: row.get("kit")?,
            engine: row.get("engine")?,
            accelerator: row.get("accelerator")?,
            resumed_from: parsed_option(row, "resumed_from")?,
            machine: row.get("machine")?,
            created_at: parsed(row, "created_at")?,
            stopped_at: parsed_option(row, "stopped_at")?,
            idle: json(row, "idle")?,
            used_at: parsed_option(row, "used_at")?,
            wake_at: parsed_option(row, "wake_at")?,
            address: parsed_option(row, "address")?,
            egress: json(row, "egress")?,
            parent: json_option(row, "parent")?,
            init: word(row, "init", &INITS, Init::as_str)?,
            run: json_option(row, "run")?,
        })
    }
}

impl Txn<'_> {
    /// Adds a sandbox.
    ///
    /// [`StoreError::Exists`] if its owner has another of that name, else [`StoreError::Quota`]
    /// if its owner has `limit` already. Sandboxes that are being destroyed count, for they still
    /// use the host.
    pub fn sandbox_insert(&self, sandbox: &SandboxRow, limit: u32) -> Result<(), StoreError> {
        self.sandbox_name_is_free(sandbox)?;
        if self.sandbox_count(&sandbox.user)? >= limit {
            return Err(StoreError::Quota {
                entity: Entity::Sandbox,
                limit,
            });
        }
        self.sandbox_execute(
            "INSERT INTO sandboxes (id, user_id, name, status, thermal, reason, image, cpus, \
             memory_mb, disk_mb, env, labels, run_as, workdir, kit, engine, accelerator, resumed_from, \
             machine, created_at, stopped_at, idle, used_at, wake_at, parent, init, run, address, egress) VALUES (:id, :user_id, :name, :status, :thermal, \
             :reason, :image, :cpus, :memory_mb, :disk_mb, :env, :labels, :run_as, :workdir, :kit, :engine, \
             :accelerator, :resumed_from, :machine, :created_at, :stopped_at, :idle, :used_at, \
             :wake_at, :parent, :init, :run, :address, :egress)",
            sandbox,
        )
        .map_err(StoreError::sql("add a sandbox"))?;
        Ok(())
    }

    /// Writes all columns of a sandbox anew.
    ///
    /// [`StoreError::NotFound`] if it is not there, [`StoreError::Exists`] if another has its
    /// name.
    pub fn sandbox_update(&self, sandbox: &SandboxRow) -> Result<(), StoreError> {
        self.sandbox_name_is_free(sandbox)?;
        let changed = self
            .sandbox_execute(
                "UPDATE sandboxes SET user_id = :user_id, name = :name, status = :status, \
                 thermal = :thermal, reason = :reason, image = :image, cpus = :cpus, \
                 memory_mb = :memory_mb, disk_mb = :disk_mb, env = :env, labels = :labels, \
                 run_as = :run_as, workdir = :workdir, kit = :kit, engine = :engine, accelerator = :accelerator, \
                 resumed_from = :resumed_from, machine = :machine, created_at = :created_at, \
                 stopped_at = :stopped_at, idle = :idle, used_at = :used_at, wake_at = :wake_at, \
                 parent = :parent, init = :init, run = :run, address = :address, egress = :egress \
                 WHERE id = :id",
                sandbox,
            )
            .map_err(StoreError::sql("change a sandbox"))?;
        if changed == 0 {
            return Err(StoreError::NotFound {
                entity: Entity::Sandbox,
                name: sandbox.id.to_string(),
            });
        }
        Ok(())
    }

    fn sandbox_name_is_free(&self, sandbox: &SandboxRow) -> Result<(), StoreError> {
        if sandbox.status == Status::Destroying {
            return Ok(());
        }
        match self.sandbox_by_name(&sandbox.user, &sandbox.name)? {
            Some(other) if other.id != sandbox.id => Err(StoreError::Exists {
                entity: Entity::Sandbox,
                name: sandbox.name.to_string(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    fn sandbox_execute(&self, sql: &str, sandbox: &SandboxRow) -> rusqlite::Result<usize> {
        self.raw.prepare_cached(sql)?.execute(named_params! {
            ":id": sandbox.id.as_str(),
            ":user_id": sandbox.user.as_str(),
            ":name": sandbox.name.as_str(),
            ":status": sandbox.status.as_str(),
            ":thermal": sandbox.thermal.as_str(),
            ":reason": sandbox.reason,
            ":image": sandbox.image.as_str(),
            ":cpus": sandbox.cpus.get(),
            ":memory_mb": sandbox.memory.get(),
            ":disk_mb": sandbox.disk.get(),
            ":env": json_text(sandbox.env.as_map()),
            ":labels": json_text(sandbox.labels.as_map()),
            ":run_as": sandbox.run_as,
            ":workdir": sandbox.workdir,
            ":kit": sandbox.kit,
            ":engine": sandbox.engine,
            ":accelerator": sandbox.accelerator,
            ":resumed_from": sandbox.resumed_from.as_ref().map(SnapshotName::as_str),
            ":machine": sandbox.machine,
            ":created_at": time_text(sandbox.created_at),
            ":stopped_at": sandbox.stopped_at.map(time_text),
            ":idle": json_text(&sandbox.idle),
            ":used_at": sandbox.used_at.map(time_text),
            ":wake_at": sandbox.wake_at.map(time_text),
            ":address": sandbox.address.map(|address| address.to_string()),
            ":egress": json_text(&sandbox.egress),
            ":parent": sandbox.parent.as_ref().map(json_text),
            ":init": sandbox.init.as_str(),
            ":run": sandbox.run.as_ref().map(json_text),
        })
    }

    /// Gives a sandbox the lowest address from `first` to `last` that no other of its user has; one
    /// that has an address among them keeps it. `None` if there is none left.
    ///
    /// [`StoreError::NotFound`] if the sandbox is not there.
    pub fn sandbox_take_address(
        &self,
        id: &SandboxId,
        (first, last): (Ipv4Addr, Ipv4Addr),
    ) -> Result<Option<Ipv4Addr>, StoreError> {
        let row = self.sandbox_get(id)?.ok_or_else(|| StoreError::NotFound {
            entity: Entity::Sandbox,
            name: id.to_string(),
        })?;
        if let Some(kept) = row.address.filter(|kept| (first..=last).contains(kept)) {
            return Ok(Some(kept));
        }
        let taken: Vec<String> = self.all(
            "list addresses",
            "SELECT address FROM sandboxes WHERE user_id = ?1 AND address IS NOT NULL",
            [row.user.as_str()],
            |row| row.get(0),
        )?;
        let taken: BTreeSet<String> = taken.into_iter().collect();
        let free = (first.to_bits()..=last.to_bits())
            .map(Ipv4Addr::from_bits)
            .find(|address| !taken.contains(&address.to_string()));
        if let Some(address) = free {
            self.raw
                .execute(
                    "UPDATE sandboxes SET address = ?2 WHERE id = ?1",
                    [id.as_str(), &address.to_string()],
                )
                .map_err(StoreError::sql("take an address"))?;
        }
        Ok(free)
    }

    /// Deletes a sandbox, and the volumes that are its own; one that is not there is deleted
    /// already. Other volumes are free again.
    pub fn sandbox_delete(&self, id: &SandboxId) -> Result<(), StoreError> {
        self.detach_all(id)?;
        self.raw
            .execute("DELETE FROM sandboxes WHERE id = ?1", [id.as_str()])
            .map_err(StoreError::sql("delete a sandbox"))?;
        Ok(())
    }

    /// All sandboxes of all users, oldest first.
    pub fn sandbox_list(&self) -> Result<Vec<SandboxRow>, StoreError> {
        self.all(
            "list sandboxes",
            "SELECT * FROM sandboxes ORDER BY created_at, id",
            [],
            SandboxRow::from_row,
        )
    }

    /// The sandbox of that id.
    pub fn sandbox_get(&self, id: &SandboxId) -> Result<Option<SandboxRow>, StoreError> {
        self.one(
            "look up a sandbox",
            "SELECT * FROM sandboxes WHERE id = ?1",
            [id.as_str()],
            SandboxRow::from_row,
        )
    }

    /// The user's sandbox of that name that is not being destroyed.
    pub fn sandbox_by_name(
        &self,
        user: &UserId,
        name: &SandboxName,
    ) -> Result<Option<SandboxRow>, StoreError> {
        self.one(
            "look up a sandbox by name",
            "SELECT * FROM sandboxes WHERE user_id = ?1 AND name = ?2 AND status <> \
                 'destroying'",
            [user.as_str(), name.as_str()],
            SandboxRow::from_row,
        )
    }

    /// How many sandboxes a user has, those being destroyed included.
    pub fn sandbox_count(&self, user: &UserId) -> Result<u32, StoreError> {
        self.raw
            .query_row(
                "SELECT count(*) FROM sandboxes WHERE user_id = ?1",
                [user.as_str()],
                |row| row.get(0),
            )
            .map_err(StoreError::sql("count sandboxes"))
    }
}

impl Store {
    /// [`Txn::sandbox_insert`] on its own.
    pub fn sandbox_insert(&self, sandbox: &SandboxRow, limit: u32) -> Result<(), StoreError> {
        self.write(|txn| txn.sandbox_insert(sandbox, limit))
    }

    /// [`Txn::sandbox_update`] on its own.
    pub fn sandbox_update(&self, sandbox: &SandboxRow) -> Result<(), StoreError> {
        self.write(|txn| txn.sandbox_update(sandbox))
    }

    /// [`Txn::sandbox_update`] on its own, without waiting for the disk: what is written outlives
    /// this process, and a crash of the host only once something else was written durably.
    pub fn sandbox_note(&self, sandbox: &SandboxRow) -> Result<(), StoreError> {
        self.write_relaxed(|txn| txn.sandbox_update(sandbox))
    }

    /// [`Txn::sandbox_take_address`] on its own, without waiting for the disk: an address that is
    /// forgotten with the host is taken again, and was nobody else's meanwhile.
    pub fn sandbox_take_address(
        &self,
        id: &SandboxId,
        range: (Ipv4Addr, Ipv4Addr),
    ) -> Result<Option<Ipv4Addr>, StoreError> {
        self.write_relaxed(|txn| txn.sandbox_take_address(id, range))
    }

    /// [`Txn::sandbox_delete`] on its own.
    pub fn sandbox_delete(&self, id: &SandboxId) -> Result<(), StoreError> {
        self.write(|txn| txn.sandbox_delete(id))
    }

    /// [`Txn::sandbox_delete`] on its own, without waiting for the disk: for a sandbox that is
    /// recorded as half made or half gone, of which the next start would delete what comes back.
    pub fn sandbox_forget(&self, id: &SandboxId) -> Result<(), StoreError> {
        self.write_relaxed(|txn| txn.sandbox_delete(id))
    }

    /// [`Txn::sandbox_list`] on its own.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method's path is not general over the transaction's lifetime"
    )]
    pub fn sandbox_list(&self) -> Result<Vec<SandboxRow>, StoreError> {
        self.read(|txn| txn.sandbox_list())
    }

    /// [`Txn::sandbox_get`] on its own.
    pub fn sandbox_get(&self, id: &SandboxId) -> Result<Option<SandboxRow>, StoreError> {
        self.read(|txn| txn.sandbox_get(id))
    }

    /// [`Txn::sandbox_by_name`] on its own.
    pub fn sandbox_by_name(
        &self,
        user: &UserId,
        name: &SandboxName,
    ) -> Result<Option<SandboxRow>, StoreError> {
        self.read(|txn| txn.sandbox_by_name(user, name))
    }
}
