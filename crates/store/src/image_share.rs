//! Who sees whose images. The images themselves are directories.

use bhatti_types::id::UserId;
use bhatti_types::name::ImageName;
use jiff::Timestamp;
use rusqlite::{Row, named_params};

use crate::column::{parsed, time_text};
use crate::error::StoreError;
use crate::store::{Store, Txn};

/// An image of one user that another sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageShareRow {
    /// Whose it is.
    pub owner: UserId,
    /// Its name. There need not be one of it.
    pub image: ImageName,
    /// Who sees it.
    pub user: UserId,
    /// Since when; kept to the millisecond.
    pub shared_at: Timestamp,
}

impl ImageShareRow {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            owner: parsed(row, "owner_id")?,
            image: parsed(row, "image")?,
            user: parsed(row, "user_id")?,
            shared_at: parsed(row, "shared_at")?,
        })
    }
}

impl Txn<'_> {
    /// Shares an image; one that is shared already stays so since then.
    pub fn image_share(&self, share: &ImageShareRow) -> Result<(), StoreError> {
        self.raw
            .prepare_cached(
                "INSERT INTO image_shares (owner_id, image, user_id, shared_at) VALUES (:owner, \
                 :image, :user, :shared_at) ON CONFLICT DO NOTHING",
            )
            .and_then(|mut statement| {
                statement.execute(named_params! {
                    ":owner": share.owner.as_str(),
                    ":image": share.image.as_str(),
                    ":user": share.user.as_str(),
                    ":shared_at": time_text(share.shared_at),
                })
            })
            .map_err(StoreError::sql("share an image"))?;
        Ok(())
    }

    /// Ends that a user sees an image; success if it did not.
    pub fn image_unshare(
        &self,
        owner: &UserId,
        image: &ImageName,
        user: &UserId,
    ) -> Result<(), StoreError> {
        self.raw
            .execute(
                "DELETE FROM image_shares WHERE owner_id = ?1 AND image = ?2 AND user_id = ?3",
                (owner.as_str(), image.as_str(), user.as_str()),
            )
            .map_err(StoreError::sql("stop sharing an image"))?;
        Ok(())
    }

    /// Ends that anybody but its owner sees an image.
    pub fn image_unshare_all(&self, owner: &UserId, image: &ImageName) -> Result<(), StoreError> {
        self.raw
            .execute(
                "DELETE FROM image_shares WHERE owner_id = ?1 AND image = ?2",
                (owner.as_str(), image.as_str()),
            )
            .map_err(StoreError::sql("stop sharing an image"))?;
        Ok(())
    }

    /// What a user sees of others, the longest shared first.
    pub fn images_shared_with(&self, user: &UserId) -> Result<Vec<ImageShareRow>, StoreError> {
        self.shares(
            "SELECT * FROM image_shares WHERE user_id = ?1 ORDER BY shared_at, owner_id, image",
            user,
        )
    }

    /// What others see of a user, by name.
    pub fn images_shared_by(&self, owner: &UserId) -> Result<Vec<ImageShareRow>, StoreError> {
        self.shares(
            "SELECT * FROM image_shares WHERE owner_id = ?1 ORDER BY image, user_id",
            owner,
        )
    }

    fn shares(&self, query: &str, user: &UserId) -> Result<Vec<ImageShareRow>, StoreError> {
        self.all(
            "list shared images",
            query,
            [user.as_str()],
            ImageShareRow::from_row,
        )
    }
}

impl Store {
    /// [`Txn::image_share`] on its own.
    pub fn image_share(&self, share: &ImageShareRow) -> Result<(), StoreError> {
        self.write(|txn| txn.image_share(share))
    }

    /// [`Txn::image_unshare`] on its own.
    pub fn image_unshare(
        &self,
        owner: &UserId,
        image: &ImageName,
        user: &UserId,
    ) -> Result<(), StoreError> {
        self.write(|txn| txn.image_unshare(owner, image, user))
    }

    /// [`Txn::image_unshare_all`] on its own.
    pub fn image_unshare_all(&self, owner: &UserId, image: &ImageName) -> Result<(), StoreError> {
        self.write(|txn| txn.image_unshare_all(owner, image))
    }

    /// [`Txn::images_shared_with`] on its own.
    pub fn images_shared_with(&self, user: &UserId) -> Result<Vec<ImageShareRow>, StoreError> {
        self.read(|txn| txn.images_shared_with(user))
    }

    /// [`Txn::images_shared_by`] on its own.
    pub fn images_shared_by(&self, owner: &UserId) -> Result<Vec<ImageShareRow>, StoreError> {
        self.read(|txn| txn.images_shared_by(owner))
    }
}
