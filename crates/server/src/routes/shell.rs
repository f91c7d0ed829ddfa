//! `/sandboxes/{id}/ws` and `/sandboxes/{id}/sessions`.

use axum::Json;
use axum::extract::ws::WebSocket;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, Query, State, WebSocketUpgrade};
use axum::response::Response;
use bhatti_api::exec::ExecRequest;
use bhatti_api::routes::MAX_BODY;
use bhatti_api::shell::Session;
use bhatti_engine::request::Caller;
use bhatti_engine::terminals::NewShell;
use bhatti_guest::terminal::{SessionInfo, Size, Wanted};
use bhatti_types::id::RequestId;
use bhatti_types::invalid::Invalid;
use jiff::Timestamp;
use tracing::Instrument as _;

use crate::app::App;
use crate::convert::{self, Transport};
use crate::error::ApiError;
use crate::exec::process::Exit;
use crate::exec::terminal;
use crate::extract::{Asking, SandboxKey};
use crate::peer::Place;
use crate::view::time;

/// The query of a request, in pairs.
type Pairs = Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>;

/// Longest id of a session and kind of a terminal, in bytes.
const MAX_WORD: usize = 64;

pub(crate) async fn sessions(
    State(app): State<App>,
    Asking(caller): Asking,
    SandboxKey(key): SandboxKey,
) -> Result<Json<Vec<Session>>, ApiError> {
    let sessions = app.engine().sessions(&caller, &key).await?;
    Ok(Json(sessions.into_iter().map(shown).collect()))
}

fn shown(info: SessionInfo) -> Session {
    let created = i64::try_from(info.created_unix_ms).unwrap_or_default();
    let created = Timestamp::from_millisecond(created).unwrap_or_default();
    Session {
        session_id: info.id,
        argv: info.argv,
        running: info.exit.is_none(),
        attached: info.attached,
        tty: true,
        pid: info.pid,
        created_at: time(created),
        exit_code: info.exit.map(|exit| Exit::from(exit).code),
    }
}

pub(crate) async fn attach(
    State(app): State<App>,
    Asking(caller): Asking,
    Extension(request): Extension<RequestId>,
    SandboxKey(key): SandboxKey,
    place: Option<Extension<Place>>,
    query: Pairs,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    // What can be refused is refused before the upgrade, as plain HTTP.
    app.engine().sandbox_get(&caller, &key).await?;
    let Query(query) = query.map_err(|_| ApiError::malformed("the query is not well formed"))?;
    let wanted = wanted(query)?;
    let upgrade = upgrade
        .map_err(|_| ApiError::NotWebSocket)?
        .max_message_size(MAX_BODY)
        .max_frame_size(MAX_BODY);
    // The daemon's end waits for this as for any of its tasks.
    let owned = app.tasks().token();
    let span = tracing::Span::current();
    Ok(upgrade.on_upgrade(move |socket| {
        async move {
            let _held = (owned, place);
            // Dropping the connection detaches; the session goes on.
            let closing = app.closing().clone();
            let shell = shell(app, caller, key, wanted, socket, request);
            closing.run_until_cancelled(shell).await;
        }
        .instrument(span)
    }))
}

async fn shell(
    app: App,
    caller: Caller,
    key: String,
    wanted: NewShell,
    socket: WebSocket,
    request: RequestId,
) {
    match app.engine().terminal(&caller, &key, wanted).await {
        Ok((shell, lease)) => terminal::carry(socket, shell, lease, &request).await,
        Err(error) => terminal::refuse(socket, &ApiError::from(error), &request).await,
    }
}

fn wanted(query: Vec<(String, String)>) -> Result<NewShell, ApiError> {
    let mut session = None;
    let mut new = false;
    let mut exec = None;
    let (mut rows, mut cols) = (None, None);
    let mut term = None;
    for (parameter, value) in query {
        match parameter.as_str() {
            "session" => session = Some(word("session", value)?),
            "term" => term = Some(word("term", value)?),
            "new" => new = value == "true",
            "rows" => rows = Some(side("rows", &value)?),
            "cols" => cols = Some(side("cols", &value)?),
            "exec" => exec = Some(crate::body::parse::<ExecRequest>(value.as_bytes())?),
            _ => {
                let known = "only `session`, `new`, `rows`, `cols`, `term` and `exec` are known";
                return Err(Invalid::new("query parameter", &parameter, known).into());
            }
        }
    }
    let exec = match exec.map(|exec| convert::exec(exec, Transport::WebSocket)) {
        None => None,
        Some(Ok(convert::Wanted::Attached(exec))) => Some(exec),
        Some(Ok(convert::Wanted::Detached { .. })) => {
            return Err(ApiError::malformed("a detached command has no terminal"));
        }
        Some(Err(error)) => return Err(error.into()),
    };
    let wanted = match (session, &exec) {
        (Some(_), Some(_)) => {
            let reason = "a session that is there runs its program already";
            return Err(Invalid::new("exec", "", reason).into());
        }
        (Some(session), None) => Wanted::Session(session),
        (None, Some(_)) => Wanted::Ephemeral,
        (None, None) if new => Wanted::New,
        (None, None) => Wanted::Free,
    };
    Ok(NewShell {
        wanted,
        exec,
        size: rows.zip(cols).map(|(rows, cols)| Size { rows, cols }),
        term,
    })
}

fn side(what: &'static str, value: &str) -> Result<u16, Invalid> {
    let wrong = |_| Invalid::new(what, value, "must be a number up to 65535");
    value.parse().map_err(wrong)
}

/// A word that can go into an environment and a log.
fn word(what: &'static str, value: String) -> Result<String, Invalid> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
    if value.is_empty() || value.len() > MAX_WORD || !value.bytes().all(plain) {
        return Err(Invalid::new(what, &value, "must be a plain word"));
    }
    Ok(value)
}

#[cfg(test)]
mod test {
    use bhatti_guest::terminal::{Size, Wanted};

    use super::wanted;

    fn asked(pairs: &[(&str, &str)]) -> Option<super::NewShell> {
        let owned = |&(k, v): &(&str, &str)| (k.to_owned(), v.to_owned());
        wanted(pairs.iter().map(owned).collect()).ok()
    }

    #[test]
    fn which_terminal_is_asked_for_by_the_query() {
        assert_eq!(asked(&[]).unwrap().wanted, Wanted::Free);
        assert_eq!(asked(&[("new", "true")]).unwrap().wanted, Wanted::New);
        let by_name = asked(&[("session", "00ff"), ("rows", "10"), ("cols", "20")]).unwrap();
        assert_eq!(by_name.wanted, Wanted::Session("00ff".to_owned()));
        assert_eq!(by_name.size, Some(Size { rows: 10, cols: 20 }));
        let exec = asked(&[("exec", r#"{"cmd":["top"]}"#)]).unwrap();
        assert_eq!(
            (exec.wanted, exec.exec.unwrap().argv),
            (Wanted::Ephemeral, vec!["top".to_owned()])
        );
        for odd in [
            ("session", ""),
            ("term", "a b"),
            ("rows", "x"),
            ("exec", "{}"),
            ("size", "1"),
        ] {
            assert!(asked(&[odd]).is_none(), "{odd:?}");
        }
        assert!(asked(&[("session", "a"), ("exec", r#"{"cmd":["top"]}"#)]).is_none());
    }
}
