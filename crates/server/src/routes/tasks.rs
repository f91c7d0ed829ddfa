//! `/tasks`, and `/gc`.

use axum::Json;
use axum::extract::State;
use bhatti_api::image::{CollectGarbage, CollectedGarbage};
use bhatti_api::task::Task;
use bhatti_engine::images::gc::Collect;
use bhatti_types::id::TaskId;

use crate::app::App;
use crate::body::JsonOrDefault;
use crate::error::ApiError;
use crate::extract::{Asking, Named};
use crate::image_view as view;

pub(crate) async fn list(
    State(app): State<App>,
    Asking(caller): Asking,
) -> Result<Json<Vec<Task>>, ApiError> {
    let views = app.engine().task_list(&caller).await?;
    Ok(Json(views.into_iter().map(view::task).collect()))
}

pub(crate) async fn show(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(id): Named<TaskId>,
) -> Result<Json<Task>, ApiError> {
    Ok(Json(view::task(app.engine().task_get(&caller, &id).await?)))
}

pub(crate) async fn cancel(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(id): Named<TaskId>,
) -> Result<Json<Task>, ApiError> {
    Ok(Json(view::task(
        app.engine().task_cancel(&caller, &id).await?,
    )))
}

pub(crate) async fn gc(
    State(app): State<App>,
    JsonOrDefault(body): JsonOrDefault<CollectGarbage>,
) -> Result<Json<CollectedGarbage>, ApiError> {
    let engine = app.engine().clone();
    let collect = if body.dry_run {
        Collect::Tell
    } else {
        Collect::Delete
    };
    let collected = app
        .change(async move { engine.collect_garbage(collect).await })
        .await?;
    Ok(Json(view::garbage(collected, body.dry_run)))
}
