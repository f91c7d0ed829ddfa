//! Users and their limits.

use bhatti_types::id::UserId;
use bhatti_types::idle::IdleSettings;
use bhatti_types::name::UserName;
use jiff::Timestamp;
use rusqlite::{Row, named_params};

use crate::column::{json, json_text, parsed, time_text};
use crate::error::{Entity, StoreError};
use crate::store::{Store, Txn};

/// Name of the built-in user, the owner of what is made over the unix socket.
pub const LOCAL_NAME: &str = "local";
/// Id of the built-in user.
pub const LOCAL_ID: &str = "usr_00000000";

/// Most sandboxes of a user that was given no other limit.
pub const DEFAULT_MAX_SANDBOXES: u32 = 5;
/// Most vCPUs of one sandbox of a user that was given no other limit.
pub const DEFAULT_MAX_CPUS: u32 = 4;
/// Most memory of one sandbox, in MiB, of a user that was given no other limit.
pub const DEFAULT_MAX_MEMORY_MB: u32 = 4096;
/// Most checkpoints of a user that was given no other limit.
pub const DEFAULT_MAX_SNAPSHOTS: u32 = 5;
/// Most images of its own of a user that was given no other limit.
pub const DEFAULT_MAX_IMAGES: u32 = 10;

/// Most storage of the volumes of a user that was given no other limit, in MiB. The original's.
pub const DEFAULT_MAX_VOLUME_MB: u32 = 20_480;

/// One user.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRow {
    /// Its id.
    pub id: UserId,
    /// Its name.
    pub name: UserName,
    /// SHA-256 of its token in hexadecimal; `None` if it has none.
    pub token_hash: Option<String>,
    /// Most sandboxes at once.
    pub max_sandboxes: u32,
    /// Most vCPUs of one sandbox.
    pub max_cpus_per_sandbox: u32,
    /// Most memory of one sandbox, in MiB.
    pub max_memory_mb_per_sandbox: u32,
    /// Most checkpoints at once.
    pub max_snapshots: u32,
    /// Most storage of all volumes together, by their sizes, in MiB.
    pub max_volume_mb: u32,
    /// Most images of its own at once.
    pub max_images: u32,
    /// When it was made; kept to the millisecond.
    pub created_at: Timestamp,
    /// What is set for its sandboxes about idling.
    pub idle: IdleSettings,
}

impl UserRow {
    /// Whether this is the built-in user.
    pub fn is_builtin(&self) -> bool {
        self.id.as_str() == LOCAL_ID
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: parsed(row, "id")?,
            name: parsed(row, "name")?,
            token_hash: row.get("token_hash")?,
            max_sandboxes: row.get("max_sandboxes")?,
            max_cpus_per_sandbox: row.get("max_cpus_per_sandbox")?,
            max_memory_mb_per_sandbox: row.get("max_memory_mb_per_sandbox")?,
            max_snapshots: row.get("max_snapshots")?,
            max_volume_mb: row.get("max_volume_mb")?,
            max_images: row.get("max_images")?,
            created_at: parsed(row, "created_at")?,
            idle: json(row, "idle")?,
        })
    }
}

// Written by hand to keep the hash out of logs.
impl std::fmt::Debug for UserRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserRow")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Id of the built-in user, as a value.
#[expect(clippy::missing_panics_doc, reason = "the constant is well formed")]
pub fn local_id() -> UserId {
    LOCAL_ID.parse().expect("the built-in id is well formed")
}

impl Txn<'_> {
    /// Adds a user; [`StoreError::Exists`] if the name is taken.
    pub fn user_insert(&self, user: &UserRow) -> Result<(), StoreError> {
        if self.user_by_name(&user.name)?.is_some() {
            return Err(StoreError::Exists {
                entity: Entity::User,
                name: user.name.to_string(),
            });
        }
        self.raw
            .prepare_cached(
                "INSERT INTO users (id, name, token_hash, max_sandboxes, max_cpus_per_sandbox, \
                 max_memory_mb_per_sandbox, max_snapshots, max_images, created_at, idle, \
                 max_volume_mb) VALUES (:id, :name, :token_hash, :max_sandboxes, :max_cpus, \
                 :max_memory_mb, :max_snapshots, :max_images, :created_at, :idle, :max_volume_mb)",
            )
            .and_then(|mut statement| {
                statement.execute(named_params! {
                    ":id": user.id.as_str(),
                    ":name": user.name.as_str(),
                    ":token_hash": user.token_hash,
                    ":max_sandboxes": user.max_sandboxes,
                    ":max_cpus": user.max_cpus_per_sandbox,
                    ":max_memory_mb": user.max_memory_mb_per_sandbox,
                    ":max_snapshots": user.max_snapshots,
                    ":max_images": user.max_images,
                    ":created_at": time_text(user.created_at),
                    ":idle": json_text(&user.idle),
                    ":max_volume_mb": user.max_volume_mb,
                })
            })
            .map_err(StoreError::sql("add a user"))?;
        Ok(())
    }

    /// Sets what a user's sandboxes do when idle; [`StoreError::NotFound`] if there is none.
    pub fn user_set_idle(&self, id: &UserId, idle: &IdleSettings) -> Result<(), StoreError> {
        let changed = self
            .raw
            .execute(
                "UPDATE users SET idle = ?2 WHERE id = ?1",
                (id.as_str(), json_text(idle)),
            )
            .map_err(StoreError::sql("change a user's idle settings"))?;
        if changed == 0 {
            return Err(StoreError::NotFound {
                entity: Entity::User,
                name: id.to_string(),
            });
        }
        Ok(())
    }

    /// Sets how many images of its own a user may have; [`StoreError::NotFound`] if there is no
    /// such user.
    pub fn user_set_max_images(&self, id: &UserId, limit: u32) -> Result<(), StoreError> {
        let changed = self
            .raw
            .execute(
                "UPDATE users SET max_images = ?2 WHERE id = ?1",
                (id.as_str(), limit),
            )
            .map_err(StoreError::sql("change a user's limit"))?;
        if changed == 0 {
            return Err(StoreError::NotFound {
                entity: Entity::User,
                name: id.to_string(),
            });
        }
        Ok(())
    }

    /// The user of that name.
    pub fn user_by_name(&self, name: &UserName) -> Result<Option<UserRow>, StoreError> {
        self.user_where("SELECT * FROM users WHERE name = ?1", name.as_str())
    }

    /// The user of that id.
    pub fn user_by_id(&self, id: &UserId) -> Result<Option<UserRow>, StoreError> {
        self.user_where("SELECT * FROM users WHERE id = ?1", id.as_str())
    }

    fn user_where(&self, query: &str, value: &str) -> Result<Option<UserRow>, StoreError> {
        self.one("look up a user", query, [value], UserRow::from_row)
    }

    /// All users by name, the built-in one included.
    pub fn user_list(&self) -> Result<Vec<UserRow>, StoreError> {
        self.all(
            "list users",
            "SELECT * FROM users ORDER BY name",
            [],
            UserRow::from_row,
        )
    }

    /// Deletes a user that has nothing left; one that is not there is deleted already.
    ///
    /// [`StoreError::InUse`] while it has sandboxes, checkpoints or volumes.
    pub fn user_delete(&self, id: &UserId) -> Result<(), StoreError> {
        let Some(user) = self.user_by_id(id)? else {
            return Ok(());
        };
        if user.is_builtin() {
            return Err(StoreError::BuiltIn {
                name: user.name.into(),
            });
        }
        let sandboxes = self.sandbox_count(id)?;
        let snapshots = self.snapshot_count(id)?;
        let volumes = self.volume_list(Some(id))?.len() as u32;
        if sandboxes > 0 || snapshots > 0 || volumes > 0 {
            return Err(StoreError::InUse {
                name: user.name.into(),
                sandboxes,
                snapshots,
                volumes,
            });
        }
        self.raw
            .execute(
                "DELETE FROM image_shares WHERE owner_id = ?1 OR user_id = ?1",
                [id.as_str()],
            )
            .map_err(StoreError::sql("stop sharing a user's images"))?;
        self.raw
            .execute("DELETE FROM users WHERE id = ?1", [id.as_str()])
            .map_err(StoreError::sql("delete a user"))?;
        Ok(())
    }

    /// Replaces the hash of a user's token, which voids the token before; `None` leaves the user
    /// without one.
    pub fn user_set_token_hash(&self, id: &UserId, hash: Option<&str>) -> Result<(), StoreError> {
        if id.as_str() == LOCAL_ID {
            return Err(StoreError::BuiltIn {
                name: LOCAL_NAME.to_owned(),
            });
        }
        let changed = self
            .raw
            .execute(
                "UPDATE users SET token_hash = ?2 WHERE id = ?1",
                (id.as_str(), hash),
            )
            .map_err(StoreError::sql("change a user's token"))?;
        if changed == 0 {
            return Err(StoreError::NotFound {
                entity: Entity::User,
                name: id.to_string(),
            });
        }
        Ok(())
    }
}

impl Store {
    /// [`Txn::user_set_idle`] on its own.
    pub fn user_set_idle(&self, id: &UserId, idle: &IdleSettings) -> Result<(), StoreError> {
        self.write(|txn| txn.user_set_idle(id, idle))
    }

    /// [`Txn::user_set_max_images`] on its own.
    pub fn user_set_max_images(&self, id: &UserId, limit: u32) -> Result<(), StoreError> {
        self.write(|txn| txn.user_set_max_images(id, limit))
    }

    /// [`Txn::user_insert`] on its own.
    pub fn user_insert(&self, user: &UserRow) -> Result<(), StoreError> {
        self.write(|txn| txn.user_insert(user))
    }

    /// [`Txn::user_by_name`] on its own.
    pub fn user_by_name(&self, name: &UserName) -> Result<Option<UserRow>, StoreError> {
        self.read(|txn| txn.user_by_name(name))
    }

    /// [`Txn::user_by_id`] on its own.
    pub fn user_by_id(&self, id: &UserId) -> Result<Option<UserRow>, StoreError> {
        self.read(|txn| txn.user_by_id(id))
    }

    /// [`Txn::user_list`] on its own.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method's path is not general over the transaction's lifetime"
    )]
    pub fn user_list(&self) -> Result<Vec<UserRow>, StoreError> {
        self.read(|txn| txn.user_list())
    }

    /// [`Txn::user_delete`] on its own.
    pub fn user_delete(&self, id: &UserId) -> Result<(), StoreError> {
        self.write(|txn| txn.user_delete(id))
    }

    /// [`Txn::user_set_token_hash`] on its own.
    pub fn user_set_token_hash(&self, id: &UserId, hash: Option<&str>) -> Result<(), StoreError> {
        self.write(|txn| txn.user_set_token_hash(id, hash))
    }
}
