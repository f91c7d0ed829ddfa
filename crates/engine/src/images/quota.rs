//! How many images of its own a user may have, and whose a new one is.

use bhatti_image::catalog::{Owner, Taken};
use bhatti_image::image::Image;
use bhatti_types::name::ImageName;

use super::lookup::Seen;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::request::{Caller, ImagePlace, Role};
use crate::view::Scope;

/// Where a new image goes, and what is there.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) owner: Owner,
    pub(crate) name: ImageName,
    /// The one that has the name now.
    pub(crate) there: Option<Image>,
}

impl Target {
    /// Refuses to take the place of an image.
    pub(crate) fn refuse_taken(&self) -> Result<(), Error> {
        match self.there {
            None => Ok(()),
            Some(_) => Err(Error::Exists {
                kind: Kind::Image,
                name: self.name.to_string(),
            }),
        }
    }

    /// An image that is there as its maker sees it.
    pub(crate) fn seen(&self, image: Image) -> Seen {
        Seen {
            scope: match &self.owner {
                Owner::Host => Scope::Host,
                Owner::User(_) => Scope::Own,
            },
            owner: self.owner.clone(),
            image,
            hidden: false,
        }
    }

    /// What its making does about an image that has come there meanwhile.
    pub(crate) fn taken(&self) -> Taken {
        match self.there {
            Some(_) => Taken::Replace,
            None => Taken::Refuse,
        }
    }
}

impl Context {
    /// Whose a new image of the caller's becomes.
    #[expect(clippy::unused_self, reason = "it belongs to the others")]
    pub(super) fn image_owner(&self, caller: &Caller, place: ImagePlace) -> Result<Owner, Error> {
        match (place, caller.role) {
            (ImagePlace::Own, _) => Ok(Owner::User(caller.user.clone())),
            (ImagePlace::Host, Role::Admin) => Ok(Owner::Host),
            (ImagePlace::Host, Role::User) => Err(Error::Conflict {
                message: "only the host's administrator makes images for all users".to_owned(),
                hint: Some("make one of your own, and share it".to_owned()),
            }),
        }
    }

    /// Where a new image of the caller's goes. [`Error::Quota`] if it has too many, the one that
    /// has the name not counted.
    pub(crate) async fn image_target(
        &self,
        caller: &Caller,
        place: ImagePlace,
        name: ImageName,
    ) -> Result<Target, Error> {
        let owner = self.image_owner(caller, place)?;
        let limit = self.user_row(&caller.user).await?.max_images;
        let (catalog, place) = (self.images.clone(), owner.clone());
        let images = Self::blocking(move || catalog.list(&place)).await??;
        let others = images.iter().filter(|image| image.name != name).count();
        if owner != Owner::Host && others >= limit as usize {
            return Err(Error::Quota {
                what: "image",
                limit: u64::from(limit),
            });
        }
        let there = images.into_iter().find(|image| image.name == name);
        Ok(Target { owner, name, there })
    }
}
