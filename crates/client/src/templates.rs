//! Calls about templates.

use bhatti_api::sandbox::StatusBody;
use bhatti_api::template::Template;

use crate::client::{Call, Client, segment};
use crate::error::Error;

impl Client {
    /// The templates of images the caller may use, the one of the latest use first.
    pub async fn template_list(&self) -> Result<Vec<Template>, Error> {
        self.fetch(Call::get("/machine-templates", "GET /machine-templates"))
            .await
    }

    /// Deletes a template; machines made from it go on.
    pub async fn template_delete(&self, id: &str) -> Result<StatusBody, Error> {
        let path = format!("/machine-templates/{}", segment(id));
        self.fetch(Call::delete(path, "DELETE /machine-templates/{id}"))
            .await
    }
}
