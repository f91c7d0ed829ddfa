//! `/images`.

use axum::Json;
use axum::extract::State;
use bhatti_api::image::Image;
use bhatti_types::name::ImageName;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{Asking, Named};
use crate::view;

pub(crate) async fn list(
    State(app): State<App>,
    Asking(caller): Asking,
) -> Result<Json<Vec<Image>>, ApiError> {
    let views = app.engine().image_list(&caller).await?;
    Ok(Json(views.into_iter().map(view::image).collect()))
}

pub(crate) async fn show(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<ImageName>,
) -> Result<Json<Image>, ApiError> {
    Ok(Json(view::image(
        app.engine().image_get(&caller, &name).await?,
    )))
}
