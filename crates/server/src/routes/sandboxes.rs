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
use crate::{convert, run, view};

/// The query of a request, in pairs.
type Pairs = Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>;

pub(crate) async fn list(
    State(app): State<App>,
    Asking(caller): Asking,
    query: Pairs,
) -> Result<Response, ApiError> {
    let asked = Asked::read(query, OF_A_LIST, Of::List)?;
    if asked.fields == Fields::Line {
        let lines = app.engine().sandbox_lines(&caller, &asked.labels).await?;
        let lines: Vec<_> = lines.into_iter().map(view::sandbox_line).collect();
        return Ok(Json(lines).into_response());
    }
    let views = app.engine().sandbox_list(&caller, &asked.labels).await?;
    let shown: Vec<_> = if asked.usage {
        let usages = app.engine().sandbox_usages(&views).await?;
        let views = views.into_iter().zip(usages);
        views
            .map(|(view, usage)| view::sandbox_with(view, usage))
            .collect()
    } else {
        views.into_iter().map(view::sandbox).collect()
    };
    Ok(Json(shown).into_response())
}

/// What the query of a list, or of one sandbox, asks for.
#[derive(Debug)]
struct Asked {
    /// `?label=k=v`, which may be repeated: only sandboxes that carry all of them.
    labels: Labels,
    /// `?usage=true`: also what they take on disk, which has to be looked up.
    usage: bool,
    /// `?fields=line`: only what a list in four columns shows.
    fields: Fields,
}

/// What a query is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    One,
    List,
}

/// How much is shown of each sandbox of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fields {
    All,
    Line,
}

/// What the query of a list may hold.
const OF_A_LIST: &str = "only `fields`, `label` and `usage` are known";

impl Asked {
    fn read(query: Pairs, known: &'static str, of: Of) -> Result<Self, ApiError> {
        let Query(query) =
            query.map_err(|_| ApiError::malformed("the query is not well formed"))?;
        Ok(Self::parse(query, known, of)?)
    }

    fn parse(query: Vec<(String, String)>, known: &'static str, of: Of) -> Result<Self, Invalid> {
        let mut fields = Fields::All;
        let mut labels = BTreeMap::new();
        let mut usage = None;
        for (parameter, value) in query {
            match parameter.as_str() {
                "usage" => {
                    let wanted = match value.as_str() {
                        "true" => true,
                        "false" => false,
                        _ => return Err(Invalid::new("usage", &value, "must be true or false")),
                    };
                    if usage.replace(wanted).is_some_and(|before| before != wanted) {
                        return Err(Invalid::new("usage", &value, "is there twice"));
                    }
                }
                "fields" if of == Of::List => {
                    if value != "line" {
                        return Err(Invalid::new("fields", &value, "must be line"));
                    }
                    fields = Fields::Line;
                }
                "label" if of == Of::List => {
                    let Some((key, wanted)) = value.split_once('=') else {
                        return Err(Invalid::new("label", &value, "must be key=value"));
                    };
                    let before = labels.insert(key.to_owned(), wanted.to_owned());
                    if before.is_some_and(|before| before != wanted) {
                        return Err(Invalid::new("label", &value, "the key is there twice"));
                    }
                }
                _ => return Err(Invalid::new("query parameter", &parameter, known)),
            }
        }
        let usage = usage.unwrap_or_default();
        if usage && fields == Fields::Line {
            let reason = "a line does not show it; leave `fields` out";
            return Err(Invalid::new("usage", "true", reason));
        }
        Ok(Self {
            labels: Labels::new(labels)?,
            usage,
            fields,
        })
    }
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
    query: Pairs,
) -> Result<Json<Sandbox>, ApiError> {
    let asked = Asked::read(query, "only `usage` is known", Of::One)?;
    let shown = app.engine().sandbox_get(&caller, &key).await?;
    let idle = app.engine().sandbox_idle(&caller, &key).await?;
    let usage = if asked.usage {
        app.engine().sandbox_usage(&caller, &key).await?
    } else {
        None
    };
    let service = app.engine().service_status(&caller, &key).await?;
    let mut shown = view::sandbox_with(shown, usage);
    if let Some(run) = &mut shown.run {
        run.state = service.map(run::state);
    }
    Ok(Json(Sandbox {
        idle: Some(view::idle(idle)),
        ..shown
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
    use super::{Asked, Fields, OF_A_LIST, Of};

    fn asked(pairs: &[(&str, &str)]) -> Result<Asked, String> {
        let query = pairs
            .iter()
            .map(|&(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        Asked::parse(query, OF_A_LIST, Of::List).map_err(|error| error.to_string())
    }

    fn labels(pairs: &[(&str, &str)]) -> Result<usize, String> {
        asked(pairs).map(|asked| asked.labels.as_map().len())
    }

    #[test]
    fn labels_of_a_filter_may_be_repeated() {
        assert_eq!(labels(&[]), Ok(0));
        assert_eq!(
            labels(&[("label", "a=1"), ("label", "b="), ("label", "a=1")]),
            Ok(2)
        );
        let twice = labels(&[("label", "a=1"), ("label", "a=2")]);
        assert!(twice.unwrap_err().contains("twice"));
        assert!(labels(&[("label", "a")]).unwrap_err().contains("key=value"));
        let unknown = labels(&[("limit", "5")]).unwrap_err();
        assert!(unknown.contains(OF_A_LIST));
    }

    #[test]
    fn usage_is_asked_for_by_a_word() {
        let usage = |pairs| asked(pairs).map(|asked| asked.usage);
        assert_eq!(usage(&[]), Ok(false));
        assert_eq!(usage(&[("usage", "true"), ("usage", "true")]), Ok(true));
        assert_eq!(usage(&[("usage", "false")]), Ok(false));
        let twice = usage(&[("usage", "true"), ("usage", "false")]);
        assert!(twice.unwrap_err().contains("twice"));
        let odd = usage(&[("usage", "yes")]);
        assert!(odd.unwrap_err().contains("true or false"));
        let other = Asked::parse(
            vec![("label".to_owned(), "a=1".to_owned())],
            "only `usage` is known",
            Of::One,
        );
        assert!(other.unwrap_err().to_string().contains("only `usage`"));
    }

    #[test]
    fn fields_are_those_of_a_line_or_all() {
        let fields = |pairs: &[(&str, &str)]| asked(pairs).map(|asked| asked.fields);
        assert_eq!(fields(&[]), Ok(Fields::All));
        assert_eq!(fields(&[("fields", "line")]), Ok(Fields::Line));
        for odd in ["", "all", "Line", "name,status"] {
            let error = fields(&[("fields", odd)]).unwrap_err();
            assert!(error.contains("must be line"), "{error}");
        }
        let both = fields(&[("usage", "true"), ("fields", "line")]).unwrap_err();
        assert!(both.contains("does not show it"), "{both}");
        let pair = [("fields".to_owned(), "line".to_owned())];
        let of_one = Asked::parse(pair.to_vec(), "only `usage` is known", Of::One);
        assert!(of_one.unwrap_err().to_string().contains("only `usage`"));
    }
}
