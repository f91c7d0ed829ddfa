//! `/users`, for the administrator. The guard of the routes has seen to that.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use bhatti_api::idle::EditUser;
use bhatti_api::sandbox::StatusBody;
use bhatti_api::user::{CreateUser, CreatedUser, RotatedKey, User};
use bhatti_types::name::UserName;
use http::StatusCode;
use http::header::CACHE_CONTROL;

use crate::app::App;
use crate::body::Json as JsonBody;
use crate::error::ApiError;
use crate::extract::Named;
use crate::{convert, view};

pub(crate) async fn list(State(app): State<App>) -> Result<Json<Vec<User>>, ApiError> {
    let views = app.engine().user_list().await?;
    Ok(Json(views.into_iter().map(view::user).collect()))
}

pub(crate) async fn create(
    State(app): State<App>,
    JsonBody(body): JsonBody<CreateUser>,
) -> Result<Response, ApiError> {
    let new = convert::new_user(&body)?;
    let engine = app.engine().clone();
    let (user, token) = app
        .change(async move { engine.user_create(new).await })
        .await?;
    let body = CreatedUser {
        user: view::user(user),
        api_key: token.reveal().to_owned(),
    };
    // A token is not to be found in any cache on the way.
    Ok((
        StatusCode::CREATED,
        [(CACHE_CONTROL, "no-store")],
        Json(body),
    )
        .into_response())
}

pub(crate) async fn show(
    State(app): State<App>,
    Named(name): Named<UserName>,
) -> Result<Json<User>, ApiError> {
    Ok(Json(view::user(app.engine().user_get(&name).await?)))
}

pub(crate) async fn edit(
    State(app): State<App>,
    Named(name): Named<UserName>,
    JsonBody(body): JsonBody<EditUser>,
) -> Result<Json<User>, ApiError> {
    let edit = convert::edit_user(&body)?;
    let engine = app.engine().clone();
    let user = app
        .change(async move { engine.user_edit(&name, edit).await })
        .await?;
    Ok(Json(view::user(user)))
}

pub(crate) async fn remove(
    State(app): State<App>,
    Named(name): Named<UserName>,
) -> Result<Json<StatusBody>, ApiError> {
    let engine = app.engine().clone();
    app.change(async move { engine.user_delete(&name).await })
        .await?;
    Ok(Json(StatusBody {
        status: "deleted".to_owned(),
    }))
}

pub(crate) async fn rotate_key(
    State(app): State<App>,
    Named(name): Named<UserName>,
) -> Result<Response, ApiError> {
    let engine = app.engine().clone();
    let token = app
        .change(async move { engine.user_rotate_key(&name).await })
        .await?;
    let body = RotatedKey {
        api_key: token.reveal().to_owned(),
    };
    Ok(([(CACHE_CONTROL, "no-store")], Json(body)).into_response())
}
