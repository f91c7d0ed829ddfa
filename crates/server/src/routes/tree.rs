//! `/tree`.

use axum::Json;
use axum::extract::{Query, State};
use bhatti_api::tree::TreeNode;
use serde::Deserialize;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::Asking;
use crate::view;

/// What may be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Part {
    sandbox: Option<String>,
}

pub(crate) async fn show(
    State(app): State<App>,
    Asking(caller): Asking,
    query: Result<Query<Part>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<TreeNode>>, ApiError> {
    let Query(part) =
        query.map_err(|_| ApiError::malformed("only the parameter `sandbox` is known, once"))?;
    let root = part.sandbox.as_deref().filter(|key| !key.is_empty());
    let lines = app.engine().tree(&caller, root).await?;
    Ok(Json(lines.into_iter().map(view::tree_node).collect()))
}
