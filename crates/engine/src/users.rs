//! Users and their tokens.

use bhatti_image::catalog::Owner;
use bhatti_store::store::Store;
use bhatti_store::user::{
    DEFAULT_MAX_CPUS, DEFAULT_MAX_IMAGES, DEFAULT_MAX_MEMORY_MB, DEFAULT_MAX_SANDBOXES,
    DEFAULT_MAX_SNAPSHOTS, DEFAULT_MAX_VOLUME_MB, UserRow,
};
use bhatti_types::id::{UserId, hex};
use bhatti_types::idle::IdleSettings;
use bhatti_types::name::UserName;
use bhatti_types::secret::Token;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::request::{Caller, NewUser, Role, UserEdit};
use crate::view::UserView;

/// What is stored of a token. SHA-256 without stretching: a token has 256 random bits, which no
/// one guesses.
fn token_hash(token: &Token) -> String {
    hex(&Sha256::digest(token.reveal().as_bytes()))
}

fn view(row: UserRow) -> UserView {
    UserView {
        id: row.id,
        name: row.name,
        max_sandboxes: row.max_sandboxes,
        max_cpus_per_sandbox: row.max_cpus_per_sandbox,
        max_memory_mb_per_sandbox: row.max_memory_mb_per_sandbox,
        max_snapshots: row.max_snapshots,
        max_volume_mb: row.max_volume_mb,
        max_images: row.max_images,
        idle: row.idle,
        created_at: row.created_at,
    }
}

impl Context {
    /// The user a token belongs to. Takes as long for a wrong token as for a right one.
    pub(crate) async fn authenticate(&self, token: &Token) -> Result<Option<Caller>, Error> {
        let name = token.user().clone();
        let row = self.db(move |store| store.user_by_name(&name)).await?;
        let given = token_hash(token);
        // A user that is not there is compared all the same.
        let nobody = "0".repeat(given.len());
        let stored = row
            .as_ref()
            .and_then(|row| row.token_hash.as_ref())
            .unwrap_or(&nobody);
        let same = bool::from(stored.as_bytes().ct_eq(given.as_bytes()));
        Ok(row.filter(|_| same).map(|row| Caller {
            user: row.id,
            name: row.name,
            role: Role::User,
        }))
    }

    pub(crate) async fn user_row(&self, id: &UserId) -> Result<UserRow, Error> {
        let wanted = id.clone();
        let row = self.db(move |store| store.user_by_id(&wanted)).await?;
        row.ok_or_else(|| Error::NotFound {
            kind: Kind::User,
            name: id.to_string(),
        })
    }

    pub(crate) async fn user_create(&self, new: NewUser) -> Result<(UserView, Token), Error> {
        let token = Token::random(&new.name);
        let row = UserRow {
            id: UserId::random(),
            name: new.name,
            token_hash: Some(token_hash(&token)),
            max_sandboxes: new.max_sandboxes.unwrap_or(DEFAULT_MAX_SANDBOXES),
            max_cpus_per_sandbox: new.max_cpus_per_sandbox.unwrap_or(DEFAULT_MAX_CPUS),
            max_memory_mb_per_sandbox: new
                .max_memory_mb_per_sandbox
                .unwrap_or(DEFAULT_MAX_MEMORY_MB),
            max_snapshots: new.max_snapshots.unwrap_or(DEFAULT_MAX_SNAPSHOTS),
            max_volume_mb: new.max_volume_mb.unwrap_or(DEFAULT_MAX_VOLUME_MB),
            max_images: new.max_images.unwrap_or(DEFAULT_MAX_IMAGES),
            created_at: Timestamp::now(),
            idle: IdleSettings::default(),
        };
        let inserted = row.clone();
        self.db(move |store| store.user_insert(&inserted)).await?;
        Ok((view(row), token))
    }

    /// Takes in what is set for all users.
    pub(crate) async fn load_policies(&self) -> Result<(), Error> {
        for row in self.db(Store::user_list).await? {
            self.policies.set_user(row.id, row.idle);
        }
        Ok(())
    }

    /// Changes what a user's sandboxes do when idle, and its limits.
    pub(crate) async fn user_edit(
        &self,
        name: &UserName,
        edit: UserEdit,
    ) -> Result<UserView, Error> {
        let looked_for = name.clone();
        let row = self
            .db(move |store| store.user_by_name(&looked_for))
            .await?;
        let mut row = row.ok_or_else(|| Error::NotFound {
            kind: Kind::User,
            name: name.to_string(),
        })?;
        row.idle = edit.idle.onto(row.idle);
        row.max_images = edit.max_images.unwrap_or(row.max_images);
        let changed = row.clone();
        self.db(move |store| {
            store.write(|txn| {
                txn.user_set_idle(&changed.id, &changed.idle)?;
                txn.user_set_max_images(&changed.id, changed.max_images)
            })
        })
        .await?;
        self.policies.set_user(row.id.clone(), row.idle);
        Ok(view(row))
    }

    pub(crate) async fn user_list(&self) -> Result<Vec<UserView>, Error> {
        let rows = self.db(Store::user_list).await?;
        Ok(rows
            .into_iter()
            .filter(|row| !row.is_builtin())
            .map(view)
            .collect())
    }

    pub(crate) async fn user_get(&self, name: &UserName) -> Result<UserView, Error> {
        self.user_named(name).await.map(view)
    }

    pub(crate) async fn user_delete(&self, name: &UserName) -> Result<(), Error> {
        let row = self.user_named(name).await?;
        let (catalog, owner) = (self.images.clone(), Owner::User(row.id.clone()));
        let images = Self::blocking(move || catalog.list(&owner)).await??;
        if !images.is_empty() {
            return Err(Error::Conflict {
                message: format!("user {:?} still has {} images", name.as_str(), images.len()),
                hint: Some("delete its images first".to_owned()),
            });
        }
        let (catalog, id) = (self.images.clone(), row.id.clone());
        self.db(move |store| store.user_delete(&row.id)).await?;
        self.release_network(&id).await;
        Ok(Self::blocking(move || catalog.forget(&id)).await??)
    }

    pub(crate) async fn user_rotate_key(&self, name: &UserName) -> Result<Token, Error> {
        let row = self.user_named(name).await?;
        let token = Token::random(&row.name);
        let hash = token_hash(&token);
        self.db(move |store| store.user_set_token_hash(&row.id, Some(&hash)))
            .await?;
        Ok(token)
    }

    async fn user_named(&self, name: &UserName) -> Result<UserRow, Error> {
        let wanted = name.clone();
        let row = self.db(move |store| store.user_by_name(&wanted)).await?;
        row.filter(|row| !row.is_builtin())
            .ok_or_else(|| Error::NotFound {
                kind: Kind::User,
                name: name.to_string(),
            })
    }
}
