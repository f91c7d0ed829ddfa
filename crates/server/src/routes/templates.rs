//! `/machine-templates`, and `/images/{name}/warm`, which makes them.

use axum::Json;
use axum::extract::State;
use bhatti_api::sandbox::StatusBody;
use bhatti_api::template::{Template, WarmImage};
use bhatti_types::id::TemplateId;
use bhatti_types::name::ImageName;

use crate::app::App;
use crate::body::JsonOrDefault;
use crate::error::ApiError;
use crate::extract::{Asking, Named};
use crate::{convert, view};

pub(crate) async fn list(
    State(app): State<App>,
    Asking(caller): Asking,
) -> Result<Json<Vec<Template>>, ApiError> {
    let views = app.engine().template_list(&caller).await?;
    Ok(Json(views.into_iter().map(view::template).collect()))
}

pub(crate) async fn warm(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(image): Named<ImageName>,
    JsonOrDefault(body): JsonOrDefault<WarmImage>,
) -> Result<Json<Template>, ApiError> {
    let size = convert::warm_size(&body)?;
    let engine = app.engine().clone();
    let made = app
        .change(async move { engine.image_warm(&caller, &image, size).await })
        .await?;
    Ok(Json(view::template(made)))
}

pub(crate) async fn remove(
    State(app): State<App>,
    Named(id): Named<TemplateId>,
) -> Result<Json<StatusBody>, ApiError> {
    let engine = app.engine().clone();
    app.change(async move { engine.template_delete(&id).await })
        .await?;
    Ok(Json(StatusBody {
        status: "deleted".to_owned(),
    }))
}
