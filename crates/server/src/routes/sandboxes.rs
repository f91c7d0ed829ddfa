//! `/sandboxes`.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use bhatti_api::idle::EditSandbox;
use bhatti_api::routes::EXISTING_HEADER;
use bhatti_api::sandbox::{
    CreateSandbox, ForkSandbox, RollbackSandbox, RolledBack, Sandbox, StartSandbox, StatusBody,
};
use bhatti_api::snapshot::{CreateSnapshot, Snapshot};
use bhatti_types::invalid::Invalid;
use bhatti_types::labels::Labels;
use bhatti_types::name::SnapshotName;
use http::StatusCode;

use crate::app::App;
use crate::body::{Json as JsonBody, JsonOrDefault};
use crate::error::ApiError;
use crate::extract::{Asking, SandboxKey};
use crate::{convert, view};

pub(crate) async fn list(
    State(app): State<App>,
    Asking(caller): Asking,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<Sandbox>>, ApiError> {
    let Query(query) = query.map_err(|_| ApiError::malformed("the query is not well formed"))?;
    let labels = label_filter(query)?;
    let views = app.engine().sandbox_list(&caller, &labels).await?;
    Ok(Json(views.into_iter().map(view::sandbox).collect()))
}

/// Reads `?label=k=v`, which may be repeated.
fn label_filter(query: Vec<(String, String)>) -> Result<Labels, ApiError> {
    let mut labels = BTreeMap::new();
    for (parameter, value) in query {
        if parameter != "label" {
            return Err(
                Invalid::new("query parameter", &parameter, "only `label` is known").into(),
            );
        }
        let Some((key, wanted)) = value.split_once('=') else {
            return Err(Invalid::new("label", &value, "must be key=value").into());
        };
        let before = labels.insert(key.to_owned(), wanted.to_owned());
        if before.is_some_and(|before| before != wanted) {
            return Err(Invalid::new("label", &value, "the key is there twice").into());
        }
    }
    Ok(Labels::new(labels)?)
}

pub(crate) async fn create(
    State(app): State<App>,
    Asking(caller): Asking,
    JsonOrDefault(body): JsonOrDefault<CreateSandbox>,
) -> Result<Response, ApiError> {
    let new = convert::new_sandbox(body)?;
    let engine = app.engine().clone();
    let created = app
        .change(async move { engine.sandbox_create(&caller, new).await })
        .await?;
    let body = Json(view::sandbox(created.sandbox));
    Ok(if created.existing {
        ([(EXISTING_HEADER, "true")], body).into_response()
    } else {
        (StatusCode::CREATED, body).into_response()
    })
}

pub(crate) async fn show(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
) -> Result<Json<Sandbox>, ApiError> {
    let shown = app.engine().sandbox_get(&caller, &key).await?;
    let idle = app.engine().sandbox_idle(&caller, &key).await?;
    Ok(Json(Sandbox {
        idle: Some(view::idle(idle)),
        ..view::sandbox(shown)
    }))
}

pub(crate) async fn edit(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
    JsonBody(body): JsonBody<EditSandbox>,
) -> Result<Json<Sandbox>, ApiError> {
    let edit = convert::edit_sandbox(body)?;
    let engine = app.engine().clone();
    let edited = app
        .change(async move { engine.sandbox_edit(&caller, &key, edit).await })
        .await?;
    Ok(Json(view::sandbox(edited)))
}

pub(crate) async fn pause(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
) -> Result<Json<Sandbox>, ApiError> {
    let engine = app.engine().clone();
    let paused = app
        .change(async move { engine.sandbox_pause(&caller, &key).await })
        .await?;
    Ok(Json(view::sandbox(paused)))
}

pub(crate) async fn destroy(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
) -> Result<Json<StatusBody>, ApiError> {
    let engine = app.engine().clone();
    app.change(async move { engine.sandbox_destroy(&caller, &key).await })
        .await?;
    Ok(Json(StatusBody {
        status: "destroyed".to_owned(),
    }))
}

pub(crate) async fn stop(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
) -> Result<Json<Sandbox>, ApiError> {
    let engine = app.engine().clone();
    let stopped = app
        .change(async move { engine.sandbox_stop(&caller, &key).await })
        .await?;
    Ok(Json(view::sandbox(stopped)))
}

pub(crate) async fn start(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
    JsonOrDefault(body): JsonOrDefault<StartSandbox>,
) -> Result<Json<Sandbox>, ApiError> {
    let engine = app.engine().clone();
    let wait = convert::wait(body.wait_sec)?;
    let started = app
        .change(async move { engine.sandbox_start(&caller, &key, body.force, wait).await })
        .await?;
    Ok(Json(view::sandbox(started)))
}

pub(crate) async fn checkpoint(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
    JsonBody(body): JsonBody<CreateSnapshot>,
) -> Result<(StatusCode, Json<Snapshot>), ApiError> {
    let name = convert::new_snapshot(&body)?;
    let engine = app.engine().clone();
    let taken = app
        .change(async move { engine.snapshot_create(&caller, &key, name).await })
        .await?;
    Ok((StatusCode::CREATED, Json(view::snapshot(taken))))
}

pub(crate) async fn fork(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
    JsonOrDefault(body): JsonOrDefault<ForkSandbox>,
) -> Result<(StatusCode, Json<Vec<Sandbox>>), ApiError> {
    let copies = convert::new_copies(body)?;
    let engine = app.engine().clone();
    let made = app
        .change(async move { engine.sandbox_fork(&caller, &key, copies).await })
        .await?;
    let made = made.into_iter().map(view::sandbox).collect();
    Ok((StatusCode::CREATED, Json(made)))
}

pub(crate) async fn rollback(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
    JsonBody(body): JsonBody<RollbackSandbox>,
) -> Result<Json<RolledBack>, ApiError> {
    let to: SnapshotName = body.to.parse()?;
    let engine = app.engine().clone();
    let done = app
        .change(async move { engine.sandbox_rollback(&caller, &key, to, body.force).await })
        .await?;
    Ok(Json(RolledBack {
        sandbox: view::sandbox(done.sandbox),
        kept_as: done.kept.map(String::from),
    }))
}

#[cfg(test)]
mod test {
    use super::label_filter;

    fn filter(pairs: &[(&str, &str)]) -> Result<usize, String> {
        let query = pairs
            .iter()
            .map(|&(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        label_filter(query)
            .map(|labels| labels.as_map().len())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn labels_of_a_filter_may_be_repeated() {
        assert_eq!(filter(&[]), Ok(0));
        assert_eq!(
            filter(&[("label", "a=1"), ("label", "b="), ("label", "a=1")]),
            Ok(2)
        );
        assert!(
            filter(&[("label", "a=1"), ("label", "a=2")])
                .unwrap_err()
                .contains("twice")
        );
        assert!(filter(&[("label", "a")]).unwrap_err().contains("key=value"));
        assert!(
            filter(&[("limit", "5")])
                .unwrap_err()
                .contains("only `label`")
        );
    }
}
