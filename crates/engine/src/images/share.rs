//! Letting others see an image.

use bhatti_image::catalog::Owner;
use bhatti_store::error::StoreError;
use bhatti_store::image_share::ImageShareRow;
use bhatti_store::store::Txn;
use bhatti_types::id::UserId;
use bhatti_types::name::{ImageName, UserName};
use jiff::Timestamp;

use super::lookup::Seen;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::request::Caller;
use crate::view::{ImageView, Scope};

impl Engine {
    /// Lets other users see an image of the caller's, all of them or none. It stays the caller's:
    /// they make sandboxes of it and change nothing.
    pub async fn image_share(
        &self,
        caller: &Caller,
        name: &ImageName,
        users: Vec<UserName>,
    ) -> Result<ImageView, Error> {
        let (engine, caller, name) = (self.clone(), caller.clone(), name.clone());
        self.owned(async move { engine.ctx.share(&caller, &name, users).await })
            .await
    }

    /// Ends that other users see an image of the caller's. Sandboxes that they have made of it go
    /// on.
    pub async fn image_unshare(
        &self,
        caller: &Caller,
        name: &ImageName,
        users: Vec<UserName>,
    ) -> Result<ImageView, Error> {
        let (engine, caller, name) = (self.clone(), caller.clone(), name.clone());
        self.owned(async move { engine.ctx.unshare(&caller, &name, users).await })
            .await
    }
}

impl Context {
    async fn share(
        &self,
        caller: &Caller,
        name: &ImageName,
        users: Vec<UserName>,
    ) -> Result<ImageView, Error> {
        let own = self.own_image(caller, name).await?;
        let (owner, image) = (caller.user.clone(), own.image.name.clone());
        self.db(move |store| {
            store.write(|txn| {
                let found = match ids(txn, users)? {
                    Ok(found) => found,
                    Err(unknown) => return Ok(Err(unknown)),
                };
                for user in found.into_iter().filter(|user| *user != owner) {
                    txn.image_share(&ImageShareRow {
                        owner: owner.clone(),
                        image: image.clone(),
                        user,
                        shared_at: Timestamp::now(),
                    })?;
                }
                Ok(Ok(()))
            })
        })
        .await?
        .map_err(|user| no_user(&user))?;
        self.image_view(caller, own).await
    }

    async fn unshare(
        &self,
        caller: &Caller,
        name: &ImageName,
        users: Vec<UserName>,
    ) -> Result<ImageView, Error> {
        let own = self.own_image(caller, name).await?;
        let (owner, image) = (caller.user.clone(), own.image.name.clone());
        self.db(move |store| {
            store.write(|txn| {
                let found = match ids(txn, users)? {
                    Ok(found) => found,
                    Err(unknown) => return Ok(Err(unknown)),
                };
                for user in found {
                    txn.image_unshare(&owner, &image, &user)?;
                }
                Ok(Ok(()))
            })
        })
        .await?
        .map_err(|user| no_user(&user))?;
        self.image_view(caller, own).await
    }

    /// An image that has to be the caller's own.
    async fn own_image(&self, caller: &Caller, name: &ImageName) -> Result<Seen, Error> {
        let seen = self.image_seen(&caller.user, name).await?;
        match (seen.scope, &seen.owner) {
            (Scope::Own, _) => Ok(seen),
            (Scope::Host, _) | (_, Owner::Host) => Err(Error::Conflict {
                message: format!("image {:?} is the host's: all users see it", name.as_str()),
                hint: None,
            }),
            (Scope::Shared, _) => Err(Error::Conflict {
                message: format!("image {:?} is shared with you and not yours", name.as_str()),
                hint: None,
            }),
        }
    }
}

/// The ids of users, or the first that there is not: nothing is done for some of them only.
fn ids(txn: &Txn<'_>, users: Vec<UserName>) -> Result<Result<Vec<UserId>, UserName>, StoreError> {
    let mut found = Vec::new();
    for user in users {
        match txn.user_by_name(&user)? {
            Some(row) => found.push(row.id),
            None => return Ok(Err(user)),
        }
    }
    Ok(Ok(found))
}

fn no_user(name: &UserName) -> Error {
    Error::NotFound {
        kind: Kind::User,
        name: name.to_string(),
    }
}
