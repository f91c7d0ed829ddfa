//! `/images`, and `/sandboxes/{id}/save-image`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use bhatti_api::image::{
    DeletedImage, Image, PullImage, PushImage, SaveImage, ShareImage, TAR, TaskStarted,
};
use bhatti_engine::images::pull::Pulled;
use bhatti_types::name::ImageName;
use futures::TryStreamExt as _;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use crate::app::App;
use crate::body::Json as JsonBody;
use crate::error::ApiError;
use crate::extract::{Asking, Named, SandboxKey};
use crate::image_convert as convert;
use crate::image_view as view;

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

pub(crate) async fn pull(
    State(app): State<App>,
    Asking(caller): Asking,
    JsonBody(body): JsonBody<PullImage>,
) -> Result<(StatusCode, Json<TaskStarted>), ApiError> {
    let pull = convert::pull(body)?;
    let engine = app.engine().clone();
    let pulled = app
        .change(async move { engine.image_pull(&caller, pull).await })
        .await?;
    Ok(match pulled {
        Pulled::Exists(image) => {
            let answer = TaskStarted {
                task_id: None,
                status: "exists".to_owned(),
                image: Some(view::image(*image)),
            };
            (StatusCode::OK, Json(answer))
        }
        Pulled::Begun(id) => begun(id.into()),
    })
}

fn begun(task_id: String) -> (StatusCode, Json<TaskStarted>) {
    let answer = TaskStarted {
        task_id: Some(task_id),
        status: "running".to_owned(),
        image: None,
    };
    (StatusCode::ACCEPTED, Json(answer))
}

/// Not a change that goes on without its client: without it there is no archive. Dropped, it
/// leaves nothing.
pub(crate) async fn import(
    State(app): State<App>,
    Asking(caller): Asking,
    Query(query): Query<Vec<(String, String)>>,
    body: Body,
) -> Result<(StatusCode, Json<Image>), ApiError> {
    let import = convert::import(query)?;
    let archive = body.into_data_stream().map_err(std::io::Error::other);
    let made = app.engine().image_import(&caller, import, archive).await?;
    Ok((StatusCode::CREATED, Json(view::image(made))))
}

pub(crate) async fn save(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
    JsonBody(body): JsonBody<SaveImage>,
) -> Result<(StatusCode, Json<Image>), ApiError> {
    let name: ImageName = body.name.parse()?;
    let place = convert::place(body.host);
    let engine = app.engine().clone();
    let made = app
        .change(async move { engine.image_save(&caller, &key, place, name).await })
        .await?;
    Ok((StatusCode::CREATED, Json(view::image(made))))
}

pub(crate) async fn remove(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<ImageName>,
) -> Result<Json<DeletedImage>, ApiError> {
    let engine = app.engine().clone();
    let deleted = app
        .change(async move { engine.image_delete(&caller, &name).await })
        .await?;
    Ok(Json(view::deleted_image(deleted)))
}

pub(crate) async fn export(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<ImageName>,
) -> Result<Response, ApiError> {
    let archive = app.engine().image_export(&caller, &name).await?;
    let headers = [(CONTENT_TYPE, TAR), (CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(archive)).into_response())
}

pub(crate) async fn push(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<ImageName>,
    JsonBody(body): JsonBody<PushImage>,
) -> Result<(StatusCode, Json<TaskStarted>), ApiError> {
    let push = convert::push(body)?;
    let engine = app.engine().clone();
    let id = app
        .change(async move { engine.image_push(&caller, &name, push).await })
        .await?;
    Ok(begun(id.into()))
}

pub(crate) async fn share(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<ImageName>,
    JsonBody(body): JsonBody<ShareImage>,
) -> Result<Json<Image>, ApiError> {
    let users = convert::users(body)?;
    let engine = app.engine().clone();
    let shared = app
        .change(async move { engine.image_share(&caller, &name, users).await })
        .await?;
    Ok(Json(view::image(shared)))
}

pub(crate) async fn unshare(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<ImageName>,
    JsonBody(body): JsonBody<ShareImage>,
) -> Result<Json<Image>, ApiError> {
    let users = convert::users(body)?;
    let engine = app.engine().clone();
    let kept = app
        .change(async move { engine.image_unshare(&caller, &name, users).await })
        .await?;
    Ok(Json(view::image(kept)))
}
