//! Which sandbox has which volume: one may write to a volume, or many read it.

use bhatti_types::id::{SandboxId, VolumeId};
use bhatti_types::mount::{MAX_VOLUMES, MountPath};
use bhatti_types::name::VolumeName;
use bhatti_types::size::VolumeMb;
use rusqlite::{Row, named_params};

use crate::column::{count, parsed, size};
use crate::error::{Entity, StoreError};
use crate::store::{Store, Txn};

/// A volume that a sandbox has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentRow {
    /// The volume.
    pub volume: VolumeId,
    /// The sandbox.
    pub sandbox: SandboxId,
    /// Its number among the sandbox's disks. A saved machine finds it there again.
    pub slot: u8,
    /// The serial number that the guest sees; the volume's id, or in a copy that of the original.
    pub serial: String,
    /// Where it is mounted.
    pub mount: MountPath,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// Whether the volume goes away with the sandbox: it was made for it, as a copy of another's.
    pub owned: bool,
}

/// The same, with what is known of the volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedVolume {
    /// How it is attached.
    pub at: AttachmentRow,
    /// The volume's name.
    pub name: VolumeName,
    /// The volume's size.
    pub size: VolumeMb,
    /// The volume's generation.
    pub generation: u64,
}

impl AttachedVolume {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            at: AttachmentRow {
                volume: parsed(row, "volume_id")?,
                sandbox: parsed(row, "sandbox_id")?,
                slot: row.get("slot")?,
                serial: row.get("serial")?,
                mount: parsed(row, "mount")?,
                read_only: row.get("read_only")?,
                owned: row.get("owned")?,
            },
            name: parsed(row, "name")?,
            size: size(row, "size_mb")?,
            generation: count(row, "generation")?,
        })
    }
}

const JOINED: &str = "SELECT attachments.*, volumes.name, volumes.size_mb, volumes.generation FROM \
                      attachments JOIN volumes ON volumes.id = attachments.volume_id";

impl Txn<'_> {
    /// Gives a sandbox a volume.
    ///
    /// [`StoreError::Attached`] if another's having it stands against that: one may write, or
    /// many read. [`StoreError::NoPlace`] if the sandbox has something there, or no place.
    pub fn attach(&self, at: &AttachmentRow) -> Result<(), StoreError> {
        let volume = self.volume_there(&at.volume)?;
        let holders = self.holders(&at.volume)?;
        let has_writer = self
            .raw
            .query_row(
                "SELECT count(*) FROM attachments WHERE volume_id = ?1 AND read_only = 0",
                [at.volume.as_str()],
                |row| row.get::<_, u32>(0),
            )
            .map_err(StoreError::sql("look for a volume's writer"))?
            > 0;
        let own = self.attached_to(&at.sandbox)?;
        let twice = own.iter().any(|other| other.at.volume == at.volume);
        if twice || has_writer || (!at.read_only && !holders.is_empty()) {
            return Err(StoreError::Attached {
                volume: volume.name.into(),
                sandboxes: holders,
            });
        }
        if let Some(other) = own.iter().find(|other| other.at.mount == at.mount) {
            return Err(StoreError::NoPlace {
                why: format!(
                    "volume {:?} is at {} already",
                    other.name.as_str(),
                    at.mount
                ),
            });
        }
        let taken =
            |other: &AttachedVolume| other.at.slot == at.slot || other.at.serial == at.serial;
        if usize::from(at.slot) >= MAX_VOLUMES || own.iter().any(taken) {
            return Err(StoreError::NoPlace {
                why: format!("a sandbox can have at most {MAX_VOLUMES} volumes"),
            });
        }
        if !at.read_only {
            self.volume_changes(&at.volume)?;
        }
        self.raw
            .prepare_cached(
                "INSERT INTO attachments (volume_id, sandbox_id, slot, serial, mount, read_only, \
                 owned) VALUES (:volume, :sandbox, :slot, :serial, :mount, :read_only, :owned)",
            )
            .and_then(|mut statement| {
                statement.execute(named_params! {
                    ":volume": at.volume.as_str(),
                    ":sandbox": at.sandbox.as_str(),
                    ":slot": at.slot,
                    ":serial": at.serial,
                    ":mount": at.mount.as_str(),
                    ":read_only": at.read_only,
                    ":owned": at.owned,
                })
            })
            .map_err(StoreError::sql("attach a volume"))?;
        Ok(())
    }

    /// Takes a volume from a sandbox that has it, or has had it. It stays, also if it would have
    /// gone with the sandbox.
    pub fn detach(&self, volume: &VolumeId, sandbox: &SandboxId) -> Result<(), StoreError> {
        self.raw
            .execute(
                "DELETE FROM attachments WHERE volume_id = ?1 AND sandbox_id = ?2",
                (volume.as_str(), sandbox.as_str()),
            )
            .map_err(StoreError::sql("detach a volume"))?;
        Ok(())
    }

    /// Takes all volumes from a sandbox, and deletes those that are its own.
    pub(crate) fn detach_all(&self, sandbox: &SandboxId) -> Result<(), StoreError> {
        let failed = || StoreError::sql("detach a sandbox's volumes");
        let own: Vec<String> = self
            .raw
            .prepare_cached("SELECT volume_id FROM attachments WHERE sandbox_id = ?1 AND owned = 1")
            .and_then(|mut statement| {
                statement
                    .query_map([sandbox.as_str()], |row| row.get(0))?
                    .collect()
            })
            .map_err(failed())?;
        self.raw
            .execute(
                "DELETE FROM attachments WHERE sandbox_id = ?1",
                [sandbox.as_str()],
            )
            .map_err(failed())?;
        for volume in own {
            self.raw
                .execute(
                    "DELETE FROM volumes WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM attachments \
                     WHERE volume_id = ?1)",
                    [volume],
                )
                .map_err(failed())?;
        }
        Ok(())
    }

    /// The volumes of a sandbox, by their numbers.
    pub fn attached_to(&self, sandbox: &SandboxId) -> Result<Vec<AttachedVolume>, StoreError> {
        self.all(
            "list a sandbox's volumes",
            &format!("{JOINED} WHERE sandbox_id = ?1 ORDER BY slot"),
            [sandbox.as_str()],
            AttachedVolume::from_row,
        )
    }

    /// One volume of a sandbox.
    pub fn attached(
        &self,
        volume: &VolumeId,
        sandbox: &SandboxId,
    ) -> Result<Option<AttachedVolume>, StoreError> {
        self.one(
            "look up a sandbox's volume",
            &format!("{JOINED} WHERE volume_id = ?1 AND sandbox_id = ?2"),
            (volume.as_str(), sandbox.as_str()),
            AttachedVolume::from_row,
        )
    }

    /// All attachments, by volume and then sandbox.
    pub fn attachment_list(&self) -> Result<Vec<AttachedVolume>, StoreError> {
        self.all(
            "list attachments",
            &format!("{JOINED} ORDER BY volume_id, sandbox_id, slot"),
            [],
            AttachedVolume::from_row,
        )
    }

    /// Names of the sandboxes that have a volume.
    pub fn holders(&self, volume: &VolumeId) -> Result<Vec<String>, StoreError> {
        self.all(
            "look for who has a volume",
            "SELECT sandboxes.name FROM attachments JOIN sandboxes ON sandboxes.id = \
                 attachments.sandbox_id WHERE volume_id = ?1 ORDER BY sandboxes.name",
            [volume.as_str()],
            |row| row.get(0),
        )
    }

    /// [`StoreError::Attached`] if a sandbox has the volume, [`StoreError::NotFound`] if it is
    /// gone.
    pub fn volume_is_free(&self, volume: &VolumeId) -> Result<(), StoreError> {
        let row = self
            .volume_get(volume)?
            .ok_or_else(|| StoreError::NotFound {
                entity: Entity::Volume,
                name: volume.to_string(),
            })?;
        let sandboxes = self.holders(volume)?;
        if sandboxes.is_empty() {
            return Ok(());
        }
        Err(StoreError::Attached {
            volume: row.name.into(),
            sandboxes,
        })
    }
}

impl Store {
    /// [`Txn::attach`] on its own.
    pub fn attach(&self, at: &AttachmentRow) -> Result<(), StoreError> {
        self.write(|txn| txn.attach(at))
    }

    /// [`Txn::detach`] on its own.
    pub fn detach(&self, volume: &VolumeId, sandbox: &SandboxId) -> Result<(), StoreError> {
        self.write(|txn| txn.detach(volume, sandbox))
    }

    /// [`Txn::attached_to`] on its own.
    pub fn attached_to(&self, sandbox: &SandboxId) -> Result<Vec<AttachedVolume>, StoreError> {
        self.read(|txn| txn.attached_to(sandbox))
    }

    /// [`Txn::attachment_list`] on its own.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method's path is not general over the transaction's lifetime"
    )]
    pub fn attachment_list(&self) -> Result<Vec<AttachedVolume>, StoreError> {
        self.read(|txn| txn.attachment_list())
    }

    /// [`Txn::holders`] on its own.
    pub fn holders(&self, volume: &VolumeId) -> Result<Vec<String>, StoreError> {
        self.read(|txn| txn.holders(volume))
    }

    /// [`Txn::volume_is_free`] on its own.
    pub fn volume_is_free(&self, volume: &VolumeId) -> Result<(), StoreError> {
        self.read(|txn| txn.volume_is_free(volume))
    }
}
