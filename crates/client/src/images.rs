//! Calls about images.

use bhatti_api::image::Image;
use bhatti_api::template::{Template, WarmImage};

use crate::client::{Call, Client, segment};
use crate::error::Error;

impl Client {
    /// The images the caller may use.
    pub async fn image_list(&self) -> Result<Vec<Image>, Error> {
        self.fetch(Call::get("/images", "GET /images")).await
    }

    /// One image.
    pub async fn image_get(&self, name: &str) -> Result<Image, Error> {
        let path = format!("/images/{}", segment(name));
        self.fetch(Call::get(path, "GET /images/{name}")).await
    }

    /// Makes the template of a size of machine of an image, ahead of the first create.
    pub async fn image_warm(&self, name: &str, size: &WarmImage) -> Result<Template, Error> {
        let path = format!("/images/{}/warm", segment(name));
        self.fetch(Call::post(path, "POST /images/{name}/warm", size))
            .await
    }
}
