//! The outermost layer: each request's id, span and log line, and the answer to a panic.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bhatti_api::routes::{REQUEST_ID_HEADER, VERSION_HEADER};
use bhatti_types::id::RequestId;
use futures::FutureExt as _;
use http::header::CONTENT_LENGTH;
use http::{HeaderName, HeaderValue, StatusCode};
use tracing::{Instrument as _, Span};

use crate::error::{ApiError, Failure, chain};

/// Gives the request an id, runs it, logs how it ended and finishes its answer.
pub(crate) async fn observe(mut request: Request, next: Next) -> Response {
    let id = RequestId::random();
    let path = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        %id,
        method = %request.method(),
        path,
        user = tracing::field::Empty,
    );
    request.extensions_mut().insert(id.clone());
    let unfinished = Unfinished {
        span: span.clone(),
        started: Instant::now(),
        answered: false,
    };
    let outcome = AssertUnwindSafe(next.run(request).instrument(span.clone()))
        .catch_unwind()
        .await;
    let response = outcome.unwrap_or_else(|panic| {
        ApiError::Fault {
            what: "a handler panicked",
            source: Some(words(panic.as_ref()).into()),
        }
        .into_response()
    });
    span.in_scope(|| finish(response, &id, unfinished))
}

/// A request without an answer yet; dropped when its client goes away.
struct Unfinished {
    span: Span,
    started: Instant,
    answered: bool,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.answered {
            let ms = self.started.elapsed().as_millis() as u64;
            self.span
                .in_scope(|| tracing::info!(ms, "the client went away"));
        }
    }
}

fn finish(mut response: Response, id: &RequestId, mut unfinished: Unfinished) -> Response {
    unfinished.answered = true;
    if let Some(failure) = response.extensions_mut().remove::<Failure>() {
        response = told(response, failure, id);
    }
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(id.as_str()).expect("an id is letters and digits");
    headers.insert(HeaderName::from_static(REQUEST_ID_HEADER), id);
    headers.insert(
        HeaderName::from_static(VERSION_HEADER),
        HeaderValue::from_static(env!("CARGO_PKG_VERSION")),
    );
    let ms = unfinished.started.elapsed().as_millis() as u64;
    tracing::info!(status = response.status().as_u16(), ms, "answered");
    response
}

/// Logs what the client is not told, and names the request in what it is told.
///
/// Refusals are the client's own affair: their words may repeat what it sent, so they are not
/// logged.
fn told(response: Response, failure: Failure, id: &RequestId) -> Response {
    let status = response.status();
    if !status.is_server_error() {
        return response;
    }
    let cause = chain(&*failure.cause);
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(error = cause, "request failed");
    } else {
        tracing::warn!(error = cause, "request failed");
    }
    let mut body = failure.body;
    body.request_id = Some(id.to_string());
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    let (_, body) = Json(body).into_response().into_parts();
    Response::from_parts(parts, Body::new(body))
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "no words".to_owned()
    }
}

#[cfg(test)]
mod test {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use bhatti_engine::error::Error as EngineError;
    use bhatti_types::id::RequestId;
    use http::Request;
    use http_body_util::BodyExt as _;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::observe;
    use crate::error::ApiError;

    async fn ask(path: &str) -> (u16, String, Value) {
        async fn fault() -> ApiError {
            EngineError::internal(std::io::Error::other("/etc/shadow")).into()
        }
        async fn refusal() -> ApiError {
            ApiError::Forbidden
        }
        async fn panics() -> &'static str {
            panic!("with /etc/shadow in it")
        }
        let app = Router::new()
            .route("/fault", get(fault))
            .route("/refusal", get(refusal))
            .route("/panic", get(panics))
            .layer(from_fn(observe));
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        let id = response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            response.headers()["x-bhatti-version"],
            env!("CARGO_PKG_VERSION")
        );
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            id,
            serde_json::from_slice(&bytes).unwrap_or_default(),
        )
    }

    #[tokio::test]
    async fn a_fault_names_its_request_and_nothing_else() {
        for path in ["/fault", "/panic"] {
            let (status, id, body) = ask(path).await;
            id.parse::<RequestId>().unwrap();
            assert_eq!(status, 500);
            assert_eq!(
                body,
                serde_json::json!({"error": "internal error", "request_id": id})
            );
        }
    }

    #[tokio::test]
    async fn a_refusal_needs_no_request_id_in_its_body() {
        let (status, _, body) = ask("/refusal").await;
        assert_eq!(status, 403);
        assert_eq!(
            body,
            serde_json::json!({"error": "only the host's administrator may do this"})
        );
    }
}
