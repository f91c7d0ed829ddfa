//! Before each handler: who asks, may they, and do they ask too often.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bhatti_api::routes::{Auth, Route};
use bhatti_engine::request::{Caller, Role};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use crate::app::App;
use crate::error::ApiError;
use crate::peer::Peer;

/// A route with what its guard needs.
#[derive(Clone)]
pub(crate) struct Guarded {
    pub(crate) app: App,
    pub(crate) route: &'static Route,
}

/// Lets a request through to its handler, with its [`Caller`] as an extension.
pub(crate) async fn guard(
    State(guarded): State<Guarded>,
    mut request: Request,
    next: Next,
) -> Response {
    let Guarded { app, route } = &guarded;
    if route.auth != Auth::Nobody {
        // A request without a peer came by a way that nobody thought of: treat it as a stranger's.
        let peer = request
            .extensions()
            .get::<Peer>()
            .copied()
            .unwrap_or(Peer::OtherUser);
        match admit(app, route, peer, request.headers()).await {
            Ok(caller) => {
                tracing::Span::current().record("user", caller.name.as_str());
                request.extensions_mut().insert(caller);
            }
            Err(error) => return error.into_response(),
        }
    }
    next.run(request).await
}

async fn admit(
    app: &App,
    route: &Route,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let caller = match (headers.get(AUTHORIZATION), peer) {
        (Some(header), _) => authenticate(app, header).await?,
        (None, Peer::Local) => app.engine().local_admin(),
        (None, Peer::OtherUser | Peer::Tcp(_)) => return Err(ApiError::NoToken),
    };
    match (route.auth, caller.role) {
        (Auth::Admin, Role::User) => return Err(ApiError::Forbidden),
        (Auth::Admin, Role::Admin) | (Auth::User | Auth::Nobody, Role::User | Role::Admin) => {}
    }
    match caller.role {
        Role::Admin => {}
        Role::User => app.count(&caller.user, route.limit)?,
    }
    Ok(caller)
}

async fn authenticate(app: &App, header: &HeaderValue) -> Result<Caller, ApiError> {
    let token = bearer(header)?.parse().map_err(|_| ApiError::BadToken)?;
    app.engine()
        .authenticate(&token)
        .await?
        .ok_or(ApiError::BadToken)
}

/// The token of an `Authorization` header. Other schemes than `Bearer` are as good as none.
fn bearer(header: &HeaderValue) -> Result<&str, ApiError> {
    let text = header.to_str().map_err(|_| ApiError::BadToken)?;
    let (scheme, token) = text.trim().split_once(' ').ok_or(ApiError::NoToken)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::NoToken);
    }
    Ok(token.trim())
}

#[cfg(test)]
mod test {
    use http::HeaderValue;

    use super::bearer;
    use crate::error::ApiError;

    #[test]
    fn only_a_bearer_token_is_a_token() {
        let read = |text: &'static [u8]| {
            bearer(&HeaderValue::from_bytes(text).unwrap()).map(str::to_owned)
        };
        assert_eq!(read(b"Bearer bht_a_1").unwrap(), "bht_a_1");
        assert_eq!(read(b"bearer  bht_a_1 ").unwrap(), "bht_a_1");
        for other in [&b"Basic YTpi"[..], b"bht_a_1", b"", b"Bearer"] {
            assert!(matches!(
                bearer(&HeaderValue::from_bytes(other).unwrap()),
                Err(ApiError::NoToken)
            ));
        }
        assert!(matches!(read(b"Bearer \xff"), Err(ApiError::BadToken)));
    }
}
