//! Deleting an image.
//!
//! Sandboxes and checkpoints have disks of their own and go on. Templates are made of an image and
//! of no use without it: they go with it. What is just being made from it is not cut off: the
//! image is then not deleted.

use bhatti_image::catalog::Owner;
use bhatti_types::name::ImageName;

use super::gc::Collect;
use super::lookup::Seen;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::Error;
use crate::request::{Caller, Role};
use crate::view::{DeletedImageView, Scope};

impl Engine {
    /// Deletes an image of the caller's own; the administrator may delete the host's too.
    pub async fn image_delete(
        &self,
        caller: &Caller,
        name: &ImageName,
    ) -> Result<DeletedImageView, Error> {
        let (engine, caller, name) = (self.clone(), caller.clone(), name.clone());
        self.owned(async move { engine.delete_image(&caller, &name).await })
            .await
    }

    async fn delete_image(
        &self,
        caller: &Caller,
        name: &ImageName,
    ) -> Result<DeletedImageView, Error> {
        let seen = self.ctx.image_seen(&caller.user, name).await?;
        may_delete(caller, &seen)?;
        let templates = self.ctx.remove_image(&seen).await?;
        let named = |view: &crate::view::SandboxView| {
            (view.image == seen.image.name).then(|| view.name.clone())
        };
        let mut sandboxes = self.directory.pick_of_user(&caller.user, named);
        sandboxes.sort_unstable();
        Ok(DeletedImageView {
            name: seen.image.name,
            templates,
            sandboxes,
        })
    }
}

impl Context {
    /// Deletes an image that nobody uses now, and its templates; says how many those were.
    async fn remove_image(&self, seen: &Seen) -> Result<usize, Error> {
        let name = &seen.image.name;
        let dir = self.images.dir_of(&seen.owner, name);
        let in_use = || Error::Conflict {
            message: format!(
                "image {:?} is in use: a sandbox or a template is being made from it",
                name.as_str()
            ),
            hint: Some("try again in a moment".to_owned()),
        };
        let alone = self.image_locks.try_write(&dir).ok_or_else(in_use)?;
        if let Owner::User(owner) = &seen.owner {
            // First: nobody else is to see a later image of this name.
            let (owner, name) = (owner.clone(), name.clone());
            self.db(move |store| store.image_unshare_all(&owner, &name))
                .await?;
        }
        let (catalog, owner, removed) = (self.images.clone(), seen.owner.clone(), name.clone());
        Self::blocking(move || catalog.remove(&owner, &removed)).await??;
        drop(alone);
        tracing::info!(image = %name, owner = %seen.owner, "an image was deleted");
        let templates = self.forget_outdated_templates().await;
        // Its layers too, but for those that others were made from.
        self.unused_layers(Collect::Delete).await?;
        Ok(templates)
    }
}

fn may_delete(caller: &Caller, seen: &Seen) -> Result<(), Error> {
    let name = seen.image.name.as_str();
    match (seen.scope, caller.role) {
        (Scope::Own, _) | (Scope::Host, Role::Admin) => Ok(()),
        (Scope::Host, Role::User) => Err(Error::Conflict {
            message: format!("image {name:?} is the host's"),
            hint: Some("only the host's administrator deletes it".to_owned()),
        }),
        (Scope::Shared, _) => Err(Error::Conflict {
            message: format!("image {name:?} is shared with you and not yours"),
            hint: Some("its owner deletes it, or stops sharing it".to_owned()),
        }),
    }
}
