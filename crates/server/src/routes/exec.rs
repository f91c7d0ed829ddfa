//! `/sandboxes/{id}/exec` and its WebSocket.

use axum::Json;
use axum::extract::ws::WebSocket;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, State, WebSocketUpgrade};
use axum::response::{IntoResponse as _, Response};
use bhatti_api::exec::{ExecDetached, ExecRequest, WS_PROTOCOL};
use bhatti_api::routes::{MAX_BODY, NDJSON};
use bhatti_engine::request::Caller;
use bhatti_types::id::RequestId;
use http::HeaderMap;
use http::header::ACCEPT;
use tracing::Instrument as _;

use crate::app::App;
use crate::body::Json as JsonBody;
use crate::convert::{self, Transport, Wanted};
use crate::error::ApiError;
use crate::exec::{buffered, lines, process, socket};
use crate::extract::{Asking, SandboxKey};
use crate::peer::Place;

pub(crate) async fn run(
    State(app): State<App>,
    Asking(caller): Asking,
    Extension(request): Extension<RequestId>,
    SandboxKey(key): SandboxKey,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ExecRequest>,
) -> Result<Response, ApiError> {
    let exec = match convert::exec(body, Transport::Http)? {
        Wanted::Attached(exec) => exec,
        Wanted::Detached { exec, output_file } => {
            let engine = app.engine().clone();
            let started = app
                .change(async move { engine.exec_detached(&caller, &key, exec, output_file).await })
                .await?;
            let body = ExecDetached {
                pid: started.pid,
                output_file: started.output_file,
                detached: true,
            };
            return Ok(Json(body).into_response());
        }
    };
    let limit = exec.timeout;
    let (exec, lease) = app.engine().exec(&caller, &key, exec).await?;
    let (_input, output) = process::of_guest(exec, lease, limit);
    if wants_lines(&headers) {
        Ok(lines::response(output, request))
    } else {
        Ok(Json(buffered::result(output).await?).into_response())
    }
}

/// Whether the client asks for the output line by line.
fn wants_lines(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().any(|accept| {
        accept.to_str().is_ok_and(|accept| {
            accept.split(',').any(|kind| {
                let kind = kind.split(';').next().unwrap_or_default();
                kind.trim().eq_ignore_ascii_case(NDJSON)
            })
        })
    })
}

pub(crate) async fn run_on_websocket(
    State(app): State<App>,
    Asking(caller): Asking,
    Extension(request): Extension<RequestId>,
    SandboxKey(key): SandboxKey,
    place: Option<Extension<Place>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    // What can be refused is refused before the upgrade, as plain HTTP.
    app.engine().sandbox_get(&caller, &key).await?;
    let upgrade = upgrade
        .map_err(|_| ApiError::NotWebSocket)?
        .protocols([WS_PROTOCOL])
        // The request is as long as a body may be; input comes in chunks far below that.
        .max_message_size(MAX_BODY)
        .max_frame_size(MAX_BODY);
    if upgrade.selected_protocol().is_none() {
        return Err(ApiError::malformed(format!(
            "the WebSocket subprotocol {WS_PROTOCOL} is required"
        )));
    }
    // The daemon's end waits for this as for any of its tasks.
    let owned = app.tasks().token();
    let span = tracing::Span::current();
    Ok(upgrade.on_upgrade(move |socket| {
        async move {
            let _held = (owned, place);
            // Dropping the connection ends the command.
            let closing = app.closing().clone();
            let command = command(app, caller, key, socket, request);
            closing.run_until_cancelled(command).await;
        }
        .instrument(span)
    }))
}

async fn command(app: App, caller: Caller, key: String, mut socket: WebSocket, request: RequestId) {
    let Some(body) = socket::request(&mut socket).await else {
        return;
    };
    let wanted = body.and_then(|body| Ok(convert::exec(body, Transport::WebSocket)?));
    let exec = match wanted {
        Ok(Wanted::Attached(exec)) => exec,
        Ok(Wanted::Detached { .. }) => {
            let error = ApiError::malformed("a detached command needs no WebSocket");
            return socket::refuse(socket, error, &request).await;
        }
        Err(error) => return socket::refuse(socket, error, &request).await,
    };
    let limit = exec.timeout;
    match app.engine().exec(&caller, &key, exec).await {
        Ok((exec, lease)) => {
            let (input, output) = process::of_guest(exec, lease, limit);
            socket::carry(socket, input, output, &request).await;
        }
        Err(error) => socket::refuse(socket, ApiError::from(error), &request).await,
    }
}

#[cfg(test)]
mod test {
    use http::HeaderMap;
    use http::header::ACCEPT;

    use super::wants_lines;

    #[test]
    fn lines_are_asked_for_by_their_media_type() {
        let accept =
            |text: &str| wants_lines(&HeaderMap::from_iter([(ACCEPT, text.parse().unwrap())]));
        assert!(accept("application/x-ndjson"));
        assert!(accept("application/json, Application/X-NDJSON;q=0.9"));
        assert!(!accept("application/json") && !accept("*/*"));
    }
}
