//! Images that machines can be made from.

use bhatti_image::image::Image;
use bhatti_types::name::ImageName;

use crate::context::Context;
use crate::error::{Error, Kind};
use crate::view::ImageView;

fn view(image: Image) -> ImageView {
    ImageView {
        id: image.id,
        name: image.name,
        source: image.source.to_string(),
        size_mb: u64::from(image.size_mb.get()),
        created_at: image.created_at,
    }
}

impl Context {
    pub(crate) async fn image_list(&self) -> Result<Vec<ImageView>, Error> {
        self.take_images().await?;
        let catalog = self.images.clone();
        let images = Self::blocking(move || catalog.list()).await??;
        Ok(images.into_iter().map(view).collect())
    }

    pub(crate) async fn image_get(&self, name: &ImageName) -> Result<ImageView, Error> {
        self.image(name).await.map(view)
    }

    pub(crate) async fn image(&self, name: &ImageName) -> Result<Image, Error> {
        self.take_images().await?;
        let (catalog, wanted) = (self.images.clone(), name.clone());
        let image = Self::blocking(move || catalog.get(&wanted)).await??;
        image.ok_or_else(|| Error::NotFound {
            kind: Kind::Image,
            name: name.to_string(),
        })
    }
}
