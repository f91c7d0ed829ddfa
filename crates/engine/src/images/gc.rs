//! Deletes what no image and no machine needs any more: layers, templates, what users left that
//! are gone.
//!
//! None of it is missed: layers are fetched again, templates are made again. Done by hand, and by
//! the daemon itself when the disk is short. What is half-made belongs to who makes it, or is
//! deleted at the start of the next daemon.

use std::collections::HashSet;

use bhatti_host::extents;
use bhatti_image::catalog::Owner;
use bhatti_store::store::Store;
use bhatti_types::id::UserId;

use crate::checkpoint;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::Error;

/// What garbage was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GarbageKind {
    /// A layer that no image was made from.
    Layer,
    /// A template of an image, kit or engine that is no longer used.
    Template,
    /// An image of a user that is gone.
    Image,
}

impl GarbageKind {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Template => "template",
            Self::Image => "image",
        }
    }
}

/// Something that nothing needs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Garbage {
    /// What it is.
    pub kind: GarbageKind,
    /// Its name.
    pub name: String,
    /// What it takes on disk that nothing else holds.
    pub bytes: u64,
}

/// What is done about garbage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Collect {
    /// It is only told.
    Tell,
    /// It is deleted.
    Delete,
}

impl Engine {
    /// Tells of, or deletes, what nothing needs any more.
    pub async fn collect_garbage(&self, collect: Collect) -> Result<Vec<Garbage>, Error> {
        let ctx = self.ctx.clone();
        self.owned(async move {
            let mut found = ctx.images_of_nobody(collect).await?;
            // After the images: these are what then nothing needs.
            found.extend(ctx.unused_templates(collect).await?);
            found.extend(ctx.unused_layers(collect).await?);
            Ok(found)
        })
        .await
    }
}

impl Context {
    /// Images whose owner is gone. Users that have images are not deleted, so there are some only
    /// if the database is older than they are.
    async fn images_of_nobody(&self, collect: Collect) -> Result<Vec<Garbage>, Error> {
        let users = self.db(Store::user_list).await?;
        let users: HashSet<UserId> = users.into_iter().map(|user| user.id).collect();
        let catalog = self.images.clone();
        Self::blocking(move || {
            let mut found = Vec::new();
            for owner in catalog.owners()? {
                let Owner::User(user) = &owner else { continue };
                if users.contains(user) {
                    continue;
                }
                for image in catalog.list(&owner)? {
                    let usage = extents::usage(&image.disk).map_err(Error::internal)?;
                    found.push(Garbage {
                        kind: GarbageKind::Image,
                        name: format!("{user}/{}", image.name),
                        bytes: usage.own_bytes,
                    });
                    if collect == Collect::Delete {
                        catalog.remove(&owner, &image.name)?;
                    }
                }
                if collect == Collect::Delete {
                    catalog.forget(user)?;
                }
            }
            Ok(found)
        })
        .await?
    }

    async fn unused_templates(&self, collect: Collect) -> Result<Vec<Garbage>, Error> {
        let outdated = self.outdated_templates().await;
        let ids: Vec<_> = outdated.iter().map(|(id, _)| id.clone()).collect();
        let found = Self::blocking(move || {
            let found = outdated.into_iter().map(|(id, entry)| Garbage {
                kind: GarbageKind::Template,
                name: id.to_string(),
                bytes: checkpoint::usage(&entry.dir).map_or(0, |usage| usage.own_bytes),
            });
            found.collect()
        })
        .await?;
        if collect == Collect::Delete {
            for id in ids {
                self.drop_template(&id).await;
            }
        }
        Ok(found)
    }

    /// Layers that no image names and nobody uses, and the beginnings of some.
    pub(crate) async fn unused_layers(&self, collect: Collect) -> Result<Vec<Garbage>, Error> {
        let (catalog, layers) = (self.images.clone(), self.layers.clone());
        Self::blocking(move || {
            let named = catalog.list_all()?.into_iter();
            let named = named.flat_map(|(_, image)| image.layers);
            let keep: HashSet<_> = named.filter_map(|digest| digest.parse().ok()).collect();
            let found = match collect {
                Collect::Tell => layers.garbage(&keep),
                Collect::Delete => layers.collect(&keep),
            };
            let found = found.map_err(Error::internal)?.into_iter();
            Ok(found
                .map(|garbage| Garbage {
                    kind: GarbageKind::Layer,
                    name: match garbage.digest {
                        Some(digest) => digest.to_string(),
                        None => "the beginning of one".to_owned(),
                    },
                    bytes: garbage.disk,
                })
                .collect())
        })
        .await?
    }
}
