//! Which image a name means, and that it is there for as long as it is used.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bhatti_image::catalog::{Catalog, Owner};
use bhatti_image::image::Image;
use bhatti_types::id::{ImageId, UserId};
use bhatti_types::name::ImageName;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::timeout;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::view::Scope;

/// How long an image that is to be replaced is waited for: a create has its disk in seconds.
const USE_LIMIT: Duration = Duration::from_mins(2);
/// How often a name is looked up whose image goes away just then.
const LOOKS: u32 = 3;

/// An image that a user sees.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) owner: Owner,
    pub(crate) image: Image,
    pub(crate) scope: Scope,
    /// Its name means another image to this user.
    pub(crate) hidden: bool,
}

/// The right to use an image: its files are there for as long as this is held.
#[derive(Debug, Clone)]
pub(crate) struct ImageLease {
    _guard: Arc<OwnedRwLockReadGuard<()>>,
}

/// Who uses which image. Read by who uses it, written by who deletes or replaces it.
#[derive(Default)]
pub(crate) struct ImageLocks {
    locks: Mutex<HashMap<PathBuf, Arc<RwLock<()>>>>,
}

impl ImageLocks {
    fn of(&self, dir: &Path) -> Arc<RwLock<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(dir.to_owned()).or_default().clone()
    }

    async fn read(&self, dir: &Path) -> ImageLease {
        ImageLease {
            _guard: Arc::new(self.of(dir).read_owned().await),
        }
    }

    /// The right to change an image that nobody uses now; `None` if somebody does.
    pub(super) fn try_write(&self, dir: &Path) -> Option<OwnedRwLockWriteGuard<()>> {
        self.of(dir).try_write_owned().ok()
    }

    /// The right to make an image, while no other is made in this place.
    pub(super) async fn making(&self, dir: &Path) -> OwnedRwLockWriteGuard<()> {
        // No image has such a path.
        self.of(&dir.join("making")).write_owned().await
    }

    /// The right to change an image, once nobody uses it. Who wants to begin waits meanwhile.
    pub(super) async fn write(&self, dir: &Path) -> Result<OwnedRwLockWriteGuard<()>, Error> {
        let lock = self.of(dir);
        timeout(USE_LIMIT, lock.write_owned())
            .await
            .map_err(|_| Error::Timeout {
                what: "a create from the image that is to be replaced",
                seconds: USE_LIMIT.as_secs(),
            })
    }
}

impl Context {
    /// All images that a user sees: its own, those shared with it, the host's; each by name.
    pub(crate) async fn images_seen(&self, user: &UserId) -> Result<Vec<Seen>, Error> {
        self.take_images().await?;
        let shares = {
            let user = user.clone();
            self.db(move |store| store.images_shared_with(&user))
                .await?
        };
        let (catalog, user) = (self.images.clone(), user.clone());
        Self::blocking(move || {
            let mut seen = Vec::new();
            let own = Owner::User(user);
            let all = |owner: &Owner, scope| -> Result<Vec<Seen>, Error> {
                let images = catalog.list(owner)?.into_iter();
                Ok(images
                    .map(|image| of(owner.clone(), image, scope))
                    .collect())
            };
            seen.extend(all(&own, Scope::Own)?);
            for share in shares {
                let owner = Owner::User(share.owner);
                // One that was deleted, or is damaged, is not seen.
                if let Ok(Some(image)) = catalog.get(&owner, &share.image) {
                    seen.push(of(owner, image, Scope::Shared));
                }
            }
            seen.extend(all(&Owner::Host, Scope::Host)?);
            let mut names = HashSet::new();
            for one in &mut seen {
                one.hidden = !names.insert(one.image.name.clone());
            }
            Ok(seen)
        })
        .await?
    }

    /// The image that a name, or an id, means for a user.
    pub(crate) async fn image_seen(&self, user: &UserId, name: &ImageName) -> Result<Seen, Error> {
        self.take_images().await?;
        let shares = {
            let (user, name) = (user.clone(), name.clone());
            let mut shares = self
                .db(move |store| store.images_shared_with(&user))
                .await?;
            shares.retain(|share| share.image == name);
            shares
        };
        let (catalog, wanted, own) = (self.images.clone(), name.clone(), user.clone());
        let found = Self::blocking(move || {
            let shared = shares
                .into_iter()
                .map(|share| (Owner::User(share.owner), Scope::Shared));
            let places = std::iter::once((Owner::User(own), Scope::Own))
                .chain(shared)
                .chain(std::iter::once((Owner::Host, Scope::Host)));
            find(&catalog, &wanted, places)
        })
        .await??;
        if let Some(found) = found {
            return Ok(found);
        }
        let not_found = || Error::NotFound {
            kind: Kind::Image,
            name: name.to_string(),
        };
        let id: ImageId = name.as_str().parse().map_err(|_| not_found())?;
        let seen = self.images_seen(user).await?;
        let by_id = seen.into_iter().find(|one| one.image.id == id);
        by_id.ok_or_else(not_found)
    }

    /// The image that a name means, to be used.
    pub(crate) async fn image_to_use(
        &self,
        user: &UserId,
        name: &ImageName,
    ) -> Result<(Seen, ImageLease), Error> {
        for _ in 0..LOOKS {
            let seen = self.image_seen(user, name).await?;
            let dir = self.images.dir_of(&seen.owner, &seen.image.name);
            let lease = self.image_locks.read(&dir).await;
            // It may have been replaced or deleted before that.
            let (catalog, owner, name) = (
                self.images.clone(),
                seen.owner.clone(),
                seen.image.name.clone(),
            );
            let there = Self::blocking(move || catalog.get(&owner, &name)).await??;
            if let Some(image) = there {
                return Ok((Seen { image, ..seen }, lease));
            }
        }
        Err(Error::NotFound {
            kind: Kind::Image,
            name: name.to_string(),
        })
    }
}

fn of(owner: Owner, image: Image, scope: Scope) -> Seen {
    Seen {
        owner,
        image,
        scope,
        hidden: false,
    }
}

fn find(
    catalog: &Catalog,
    name: &ImageName,
    places: impl Iterator<Item = (Owner, Scope)>,
) -> Result<Option<Seen>, Error> {
    for (owner, scope) in places {
        if let Some(image) = catalog.get(&owner, name)? {
            return Ok(Some(of(owner, image, scope)));
        }
    }
    Ok(None)
}
