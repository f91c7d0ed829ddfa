//! `/volumes/{name}/backups`.

use axum::Json;
use axum::extract::{Query, State};
use bhatti_api::sandbox::StatusBody;
use bhatti_api::volume::{BackUpVolume, RestoreVolume, Volume, VolumeBackup};
use bhatti_engine::view::BackupTarget;
use bhatti_types::id::BackupId;
use bhatti_types::invalid::Invalid;
use bhatti_types::name::VolumeName;
use http::StatusCode;
use serde::Deserialize;

use crate::app::App;
use crate::body::{Json as JsonBody, JsonOrDefault};
use crate::error::ApiError;
use crate::extract::{Asking, Named, OfVolume};
use crate::view;

/// Where a backup is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Where {
    to: Option<String>,
}

fn target(to: Option<&str>) -> Result<Option<BackupTarget>, Invalid> {
    match to {
        None | Some("") => Ok(None),
        Some("s3") => Ok(Some(BackupTarget::S3)),
        Some("directory") => Ok(Some(BackupTarget::Directory)),
        Some(other) => Err(Invalid::new(
            "backup target",
            other,
            "must be `s3` or `directory`",
        )),
    }
}

fn asked(
    query: Result<Query<Where>, axum::extract::rejection::QueryRejection>,
) -> Result<Option<BackupTarget>, ApiError> {
    let Query(found) = query.map_err(|error| ApiError::malformed(error.body_text()))?;
    Ok(target(found.to.as_deref())?)
}

pub(crate) async fn list(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<VolumeName>,
    query: Result<Query<Where>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<VolumeBackup>>, ApiError> {
    let to = asked(query)?;
    let all = app.engine().volume_backups(&caller, &name, to).await?;
    let all = all.into_iter().map(|it| view::backup(&name, it));
    Ok(Json(all.collect()))
}

pub(crate) async fn create(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<VolumeName>,
    JsonOrDefault(body): JsonOrDefault<BackUpVolume>,
) -> Result<(StatusCode, Json<VolumeBackup>), ApiError> {
    let to = target(body.to.as_deref())?;
    let engine = app.engine().clone();
    let volume = name.clone();
    let made = app
        .change(async move { engine.volume_backup(&caller, &volume, to).await })
        .await?;
    Ok((StatusCode::CREATED, Json(view::backup(&name, made))))
}

pub(crate) async fn restore(
    State(app): State<App>,
    Asking(caller): Asking,
    Named(name): Named<VolumeName>,
    JsonBody(body): JsonBody<RestoreVolume>,
) -> Result<Json<Volume>, ApiError> {
    let id: BackupId = body.backup_id.parse()?;
    let to = target(body.to.as_deref())?;
    let engine = app.engine().clone();
    let restored = app
        .change(async move { engine.volume_restore(&caller, &name, &id, to).await })
        .await?;
    Ok(Json(view::volume(restored)))
}

pub(crate) async fn remove(
    State(app): State<App>,
    Asking(caller): Asking,
    OfVolume { volume, backup }: OfVolume,
    query: Result<Query<Where>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<StatusBody>, ApiError> {
    let to = asked(query)?;
    let engine = app.engine().clone();
    app.change(async move {
        engine
            .volume_backup_delete(&caller, &volume, &backup, to)
            .await
    })
    .await?;
    Ok(Json(StatusBody {
        status: "deleted".to_owned(),
    }))
}
