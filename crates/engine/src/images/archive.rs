//! Images from and to archives and registries.

use bhatti_types::id::TaskId;
use bhatti_types::name::ImageName;
use bytes::Bytes;
use futures::Stream;

use super::request::{Import, Push};
use crate::engine::Engine;
use crate::error::Error;
use crate::request::Caller;
use crate::view::ImageView;

fn not_yet() -> Error {
    Error::Unavailable {
        message: "not yet".to_owned(),
        hint: None,
    }
}

impl Engine {
    pub async fn image_import(
        &self,
        caller: &Caller,
        import: Import,
        _archive: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<ImageView, Error> {
        self.ctx
            .image_target(caller, import.place, import.name)
            .await?
            .refuse_taken()?;
        Err(not_yet())
    }

    pub async fn image_export(
        &self,
        caller: &Caller,
        name: &ImageName,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + 'static, Error> {
        self.ctx.image_seen(&caller.user, name).await?;
        Err::<futures::stream::Empty<_>, _>(not_yet())
    }

    pub async fn image_push(
        &self,
        caller: &Caller,
        name: &ImageName,
        _push: Push,
    ) -> Result<TaskId, Error> {
        self.ctx.image_seen(&caller.user, name).await?;
        Err(not_yet())
    }
}
