//! `/volumes`.

use axum::Json;
use axum::extract::State;
use bhatti_api::sandbox::{Sandbox, StatusBody};
use bhatti_api::volume::{
    AttachVolume, CloneVolume, CreateVolume, DetachVolume, ResizeVolume, Volume,
};
use bhatti_engine::request::NewAttachment;
use bhatti_types::name::VolumeName;
use bhatti_types::size::VolumeMb;
use http::StatusCode;

use crate::app::App;
use crate::body::Json as JsonBody;
use crate::error::ApiError;
use crate::extract::{Asking, Named};
use crate::view;

pub(crate) async fn list(
    State(app): State<App>,
    Asking(caller): Asking,
) -> Result<Json<Vec<Volume>>, ApiError> {
    let views = app.engine().volume_list(&caller).await?;
    Ok(Json(views.into_iter().map(view::volume).collect()))
}

pub(crate) async fn create(
    State(app): State<App>,
    Asking(caller): Asking,
    JsonBody(body): JsonBody<CreateVolume>,
) -> Result<(StatusCode, Json<Volume>), ApiError> {
    let name: VolumeName = body.name.parse()?;
    let size = VolumeMb::new(body.size_mb)?;
    let engine = app.engine().clone();
    let made = app
        .change(async move { engine.volume_create(&caller, name, size).await })
        .await?;
    Ok((StatusCode::CREATED, Json(view::volume(made))))
}

pub(crate) async fn show(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<VolumeName>,
) -> Result<Json<Volume>, ApiError> {
    let found = app.engine().volume_get(&caller, &name).await?;
    Ok(Json(view::volume(found)))
}

pub(crate) async fn remove(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<VolumeName>,
) -> Result<Json<StatusBody>, ApiError> {
    let engine = app.engine().clone();
    app.change(async move { engine.volume_delete(&caller, &name).await })
        .await?;
    Ok(Json(StatusBody {
        status: "deleted".to_owned(),
    }))
}

pub(crate) async fn resize(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<VolumeName>,
    JsonBody(body): JsonBody<ResizeVolume>,
) -> Result<Json<Volume>, ApiError> {
    let size = VolumeMb::new(body.size_mb)?;
    let engine = app.engine().clone();
    let resized = app
        .change(async move { engine.volume_resize(&caller, &name, size).await })
        .await?;
    Ok(Json(view::volume(resized)))
}

pub(crate) async fn clone(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(source): Named<VolumeName>,
    JsonBody(body): JsonBody<CloneVolume>,
) -> Result<(StatusCode, Json<Volume>), ApiError> {
    let name: VolumeName = body.name.parse()?;
    let engine = app.engine().clone();
    let made = app
        .change(async move { engine.volume_clone(&caller, &source, name).await })
        .await?;
    Ok((StatusCode::CREATED, Json(view::volume(made))))
}

pub(crate) async fn attach(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<VolumeName>,
    JsonBody(body): JsonBody<AttachVolume>,
) -> Result<Json<Sandbox>, ApiError> {
    let new = NewAttachment {
        name,
        mount: body.mount.parse()?,
        read_only: body.read_only,
        create: None,
    };
    let engine = app.engine().clone();
    let sandbox = app
        .change(async move { engine.volume_attach(&caller, &body.sandbox, new).await })
        .await?;
    Ok(Json(view::sandbox(sandbox)))
}

pub(crate) async fn detach(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<VolumeName>,
    JsonBody(body): JsonBody<DetachVolume>,
) -> Result<Json<Sandbox>, ApiError> {
    let engine = app.engine().clone();
    let sandbox = app
        .change(async move { engine.volume_detach(&caller, &body.sandbox, &name).await })
        .await?;
    Ok(Json(view::sandbox(sandbox)))
}
