//! `/snapshots`.

use axum::Json;
use axum::extract::State;
use bhatti_api::sandbox::{Sandbox, StatusBody};
use bhatti_api::snapshot::{ResumeSnapshot, Snapshot};
use bhatti_types::name::SnapshotName;
use http::StatusCode;

use crate::app::App;
use crate::body::JsonOrDefault;
use crate::error::ApiError;
use crate::extract::{Asking, Named};
use crate::{convert, view};

pub(crate) async fn list(
    State(app): State<App>,
    Asking(caller): Asking,
) -> Result<Json<Vec<Snapshot>>, ApiError> {
    let views = app.engine().snapshot_list(&caller).await?;
    Ok(Json(views.into_iter().map(view::snapshot).collect()))
}

pub(crate) async fn show(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<SnapshotName>,
) -> Result<Json<Snapshot>, ApiError> {
    Ok(Json(view::snapshot(
        app.engine().snapshot_get(&caller, &name).await?,
    )))
}

pub(crate) async fn remove(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<SnapshotName>,
) -> Result<Json<StatusBody>, ApiError> {
    let engine = app.engine().clone();
    app.change(async move { engine.snapshot_delete(&caller, &name).await })
        .await?;
    Ok(Json(StatusBody {
        status: "deleted".to_owned(),
    }))
}

pub(crate) async fn resume(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<SnapshotName>,
    JsonOrDefault(body): JsonOrDefault<ResumeSnapshot>,
) -> Result<(StatusCode, Json<Sandbox>), ApiError> {
    let sandbox = convert::resumed_name(body)?;
    let engine = app.engine().clone();
    let resumed = app
        .change(async move { engine.snapshot_resume(&caller, &name, sandbox).await })
        .await?;
    Ok((StatusCode::CREATED, Json(view::sandbox(resumed))))
}
