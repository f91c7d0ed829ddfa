//! Images as users see them.

use bhatti_host::extents;
use bhatti_image::catalog::Owner;
use bhatti_types::id::UserId;
use bhatti_types::name::ImageName;

use super::lookup::Seen;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::Error;
use crate::request::Caller;
use crate::view::{ImageView, Scope};

impl Engine {
    /// Images the caller sees: its own, those shared with it, the host's.
    pub async fn image_list(&self, caller: &Caller) -> Result<Vec<ImageView>, Error> {
        let seen = self.ctx.images_seen(&caller.user).await?;
        self.ctx.image_views(caller, seen).await
    }

    /// The image that a name means for the caller.
    pub async fn image_get(&self, caller: &Caller, name: &ImageName) -> Result<ImageView, Error> {
        let seen = self.ctx.image_seen(&caller.user, name).await?;
        self.ctx.image_view(caller, seen).await
    }
}

impl Context {
    /// One image as its user sees it.
    pub(super) async fn image_view(&self, caller: &Caller, seen: Seen) -> Result<ImageView, Error> {
        let views = self.image_views(caller, vec![seen]).await?;
        let view = views.into_iter().next();
        view.ok_or_else(|| Error::internal("one image has one view"))
    }

    async fn image_views(&self, caller: &Caller, seen: Vec<Seen>) -> Result<Vec<ImageView>, Error> {
        let user = caller.user.clone();
        let (shares, users) = self
            .db(move |store| store.read(|txn| Ok((txn.images_shared_by(&user)?, txn.user_list()?))))
            .await?;
        Self::blocking(move || {
            let name_of = |id: &UserId| {
                let user = users.iter().find(|user| user.id == *id);
                user.map(|user| user.name.clone())
            };
            let views = seen.into_iter().map(|one| {
                let shared = shares
                    .iter()
                    .filter(|share| one.scope == Scope::Own && share.image == one.image.name);
                ImageView {
                    shared_with: shared.filter_map(|share| name_of(&share.user)).collect(),
                    owner_name: match &one.owner {
                        Owner::Host => None,
                        Owner::User(id) => name_of(id),
                    },
                    usage: extents::usage(&one.image.disk).ok(),
                    id: one.image.id,
                    owner: one.owner,
                    scope: one.scope,
                    hidden: one.hidden,
                    name: one.image.name,
                    source: one.image.source.to_string(),
                    digest: one.image.digest,
                    size_mb: u64::from(one.image.size_mb.get()),
                    created_at: one.image.created_at,
                    config: one.image.config,
                }
            });
            views.collect()
        })
        .await
    }
}
