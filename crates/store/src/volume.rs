//! Volumes.

use bhatti_types::id::{UserId, VolumeId};
use bhatti_types::name::VolumeName;
use bhatti_types::size::VolumeMb;
use jiff::Timestamp;
use rusqlite::{Row, named_params};

use crate::column::{count, count_value, parsed, size, time_text, word};
use crate::error::{Entity, StoreError};
use crate::store::{Store, Txn};

/// How far a volume has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VolumeStatus {
    /// Being made; users do not see it, but it counts.
    Creating,
    /// Whole.
    Ready,
}

impl VolumeStatus {
    const ALL: [Self; 2] = [Self::Creating, Self::Ready];

    /// The word as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
        }
    }
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRow {
    /// Its id.
    pub id: VolumeId,
    /// Its owner.
    pub user: UserId,
    /// Its name, unique among its owner's volumes.
    pub name: VolumeName,
    /// How far it has come.
    pub status: VolumeStatus,
    /// Its size.
    pub size: VolumeMb,
    /// Grows whenever someone may write to it: what two readers see in one generation is the same.
    pub generation: u64,
    /// When it was made; kept to the millisecond.
    pub created_at: Timestamp,
}

impl VolumeRow {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: parsed(row, "id")?,
            user: parsed(row, "user_id")?,
            name: parsed(row, "name")?,
            status: word(row, "status", &VolumeStatus::ALL, VolumeStatus::as_str)?,
            size: size(row, "size_mb")?,
            generation: count(row, "generation")?,
            created_at: parsed(row, "created_at")?,
        })
    }
}

impl Txn<'_> {
    /// Adds a volume.
    ///
    /// [`StoreError::Exists`] if its owner has another of that name, else
    /// [`StoreError::Storage`] if all volumes of its owner would then have more than `limit` MiB.
    pub fn volume_insert(&self, volume: &VolumeRow, limit: u32) -> Result<(), StoreError> {
        if self.volume_by_name(&volume.user, &volume.name)?.is_some() {
            return Err(StoreError::Exists {
                entity: Entity::Volume,
                name: volume.name.to_string(),
            });
        }
        self.volume_fits(&volume.user, u64::from(volume.size.get()), limit)?;
        self.raw
            .prepare_cached(
                "INSERT INTO volumes (id, user_id, name, status, size_mb, generation, created_at) \
                 VALUES (:id, :user_id, :name, :status, :size_mb, :generation, :created_at)",
            )
            .and_then(|mut statement| {
                statement.execute(named_params! {
                    ":id": volume.id.as_str(),
                    ":user_id": volume.user.as_str(),
                    ":name": volume.name.as_str(),
                    ":status": volume.status.as_str(),
                    ":size_mb": volume.size.get(),
                    ":generation": count_value(volume.generation),
                    ":created_at": time_text(volume.created_at),
                })
            })
            .map_err(StoreError::sql("add a volume"))?;
        Ok(())
    }

    /// Whether a user may have so many MiB more.
    fn volume_fits(&self, user: &UserId, more: u64, limit: u32) -> Result<(), StoreError> {
        let used: i64 = self
            .raw
            .query_row(
                "SELECT coalesce(sum(size_mb), 0) FROM volumes WHERE user_id = ?1",
                [user.as_str()],
                |row| row.get(0),
            )
            .map_err(StoreError::sql("add up a user's volumes"))?;
        let used = u64::try_from(used).unwrap_or_default();
        if used.saturating_add(more) > u64::from(limit) {
            return Err(StoreError::Storage { limit });
        }
        Ok(())
    }

    /// Makes a volume larger; one that has the size already, or more, stays as it is.
    pub fn volume_grow(
        &self,
        id: &VolumeId,
        size: VolumeMb,
        limit: u32,
    ) -> Result<VolumeRow, StoreError> {
        let mut volume = self.volume_there(id)?;
        if size > volume.size {
            let more = u64::from(size.get() - volume.size.get());
            self.volume_fits(&volume.user, more, limit)?;
            self.raw
                .execute(
                    "UPDATE volumes SET size_mb = ?2 WHERE id = ?1",
                    (id.as_str(), size.get()),
                )
                .map_err(StoreError::sql("grow a volume"))?;
            volume.size = size;
        }
        Ok(volume)
    }

    /// Begins a new generation of a volume's contents.
    pub fn volume_changes(&self, id: &VolumeId) -> Result<(), StoreError> {
        self.raw
            .execute(
                "UPDATE volumes SET generation = generation + 1 WHERE id = ?1",
                [id.as_str()],
            )
            .map_err(StoreError::sql("count a volume's generation"))?;
        Ok(())
    }

    /// Shows a volume to its owner.
    pub fn volume_is_ready(&self, id: &VolumeId) -> Result<(), StoreError> {
        self.raw
            .execute(
                "UPDATE volumes SET status = 'ready' WHERE id = ?1",
                [id.as_str()],
            )
            .map_err(StoreError::sql("finish a volume"))?;
        Ok(())
    }

    /// Deletes a volume; one that is not there is deleted already.
    ///
    /// [`StoreError::Attached`] while a sandbox has it.
    pub fn volume_delete(&self, id: &VolumeId) -> Result<(), StoreError> {
        let Some(volume) = self.volume_get(id)? else {
            return Ok(());
        };
        let sandboxes = self.holders(id)?;
        if !sandboxes.is_empty() {
            return Err(StoreError::Attached {
                volume: volume.name.into(),
                sandboxes,
            });
        }
        self.raw
            .execute("DELETE FROM volumes WHERE id = ?1", [id.as_str()])
            .map_err(StoreError::sql("delete a volume"))?;
        Ok(())
    }

    pub(crate) fn volume_there(&self, id: &VolumeId) -> Result<VolumeRow, StoreError> {
        self.volume_get(id)?.ok_or_else(|| StoreError::NotFound {
            entity: Entity::Volume,
            name: id.to_string(),
        })
    }

    /// The volume of that id.
    pub fn volume_get(&self, id: &VolumeId) -> Result<Option<VolumeRow>, StoreError> {
        self.one(
            "look up a volume",
            "SELECT * FROM volumes WHERE id = ?1",
            [id.as_str()],
            VolumeRow::from_row,
        )
    }

    /// The user's volume of that name, whole or being made.
    pub fn volume_by_name(
        &self,
        user: &UserId,
        name: &VolumeName,
    ) -> Result<Option<VolumeRow>, StoreError> {
        self.one(
            "look up a volume by name",
            "SELECT * FROM volumes WHERE user_id = ?1 AND name = ?2",
            [user.as_str(), name.as_str()],
            VolumeRow::from_row,
        )
    }

    /// The volumes of one user or of all, by name, those being made included.
    pub fn volume_list(&self, user: Option<&UserId>) -> Result<Vec<VolumeRow>, StoreError> {
        self.all(
            "list volumes",
            "SELECT * FROM volumes WHERE ?1 IS NULL OR user_id = ?1 ORDER BY name, id",
            [user.map(UserId::as_str)],
            VolumeRow::from_row,
        )
    }
}

impl Store {
    /// [`Txn::volume_insert`] on its own.
    pub fn volume_insert(&self, volume: &VolumeRow, limit: u32) -> Result<(), StoreError> {
        self.write(|txn| txn.volume_insert(volume, limit))
    }

    /// [`Txn::volume_grow`] on its own.
    pub fn volume_grow(
        &self,
        id: &VolumeId,
        size: VolumeMb,
        limit: u32,
    ) -> Result<VolumeRow, StoreError> {
        self.write(|txn| txn.volume_grow(id, size, limit))
    }

    /// [`Txn::volume_changes`] on its own.
    pub fn volume_changes(&self, id: &VolumeId) -> Result<(), StoreError> {
        self.write(|txn| txn.volume_changes(id))
    }

    /// [`Txn::volume_is_ready`] on its own.
    pub fn volume_is_ready(&self, id: &VolumeId) -> Result<(), StoreError> {
        self.write(|txn| txn.volume_is_ready(id))
    }

    /// [`Txn::volume_delete`] on its own.
    pub fn volume_delete(&self, id: &VolumeId) -> Result<(), StoreError> {
        self.write(|txn| txn.volume_delete(id))
    }

    /// [`Txn::volume_get`] on its own.
    pub fn volume_get(&self, id: &VolumeId) -> Result<Option<VolumeRow>, StoreError> {
        self.read(|txn| txn.volume_get(id))
    }

    /// [`Txn::volume_by_name`] on its own.
    pub fn volume_by_name(
        &self,
        user: &UserId,
        name: &VolumeName,
    ) -> Result<Option<VolumeRow>, StoreError> {
        self.read(|txn| txn.volume_by_name(user, name))
    }

    /// [`Txn::volume_list`] on its own.
    pub fn volume_list(&self, user: Option<&UserId>) -> Result<Vec<VolumeRow>, StoreError> {
        self.read(|txn| txn.volume_list(user))
    }
}
