//! A terminal in a sandbox: the WebSocket described in [`bhatti_api::shell`].

use bhatti_api::exec::ExecRequest;
use bhatti_api::shell::{MAX_CHUNK, Session, TerminalControl, TerminalEvent};
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{CHANGE_TIMEOUT, Call, Client, segment};
use crate::error::Error;
use crate::exec::{Said, Socket, broken, said, text};
use crate::reply::printable;

/// What terminal is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShellRequest {
    /// The session to attach to.
    pub session: Option<String>,
    /// Begin a new one also if there is one that nobody is attached to.
    pub new: bool,
    /// A program to run in a new one, which ends when this client goes.
    pub exec: Option<ExecRequest>,
    /// Lines and columns.
    pub size: Option<(u16, u16)>,
    /// The kind of terminal, for the variable `TERM`.
    pub term: Option<String>,
}

/// The way in: keys, and the terminal's size. Dropping both halves detaches.
pub struct ShellInput {
    sink: SplitSink<Socket, Message>,
}

/// The way out: what the terminal shows.
pub struct ShellOutput {
    stream: SplitStream<Socket>,
}

/// Something the terminal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShellStep {
    /// This client is attached.
    Attached {
        /// The session's id.
        session: String,
        /// It was there before.
        resumed: bool,
    },
    /// It shows this.
    Output(Bytes),
    /// Its program ended, with an exit code or 128 + a signal. Nothing follows.
    Exit(i32),
    /// Somebody else attached. Nothing follows.
    TakenOver,
}

impl Client {
    /// Attaches to a terminal.
    pub async fn shell(
        &self,
        sandbox: &str,
        request: &ShellRequest,
    ) -> Result<(ShellInput, ShellOutput), Error> {
        let path = path(sandbox, request);
        let opening = self.open_socket(&path, None, "GET /sandboxes/{id}/ws");
        // Waking the sandbox may come before the answer.
        let socket = match timeout(CHANGE_TIMEOUT, opening).await {
            Ok(socket) => socket?,
            Err(_) => {
                return Err(Error::Timeout {
                    endpoint: self.endpoint().clone(),
                    seconds: CHANGE_TIMEOUT.as_secs(),
                });
            }
        };
        let (sink, stream) = socket.split();
        Ok((ShellInput { sink }, ShellOutput { stream }))
    }

    /// The terminals of a sandbox, oldest first.
    pub async fn sessions(&self, sandbox: &str) -> Result<Vec<Session>, Error> {
        let path = format!("/sandboxes/{}/sessions", segment(sandbox));
        let mut call = Call::get(path, "GET /sandboxes/{id}/sessions");
        // It may have to be woken.
        call.limit = CHANGE_TIMEOUT;
        self.fetch(call).await
    }
}

fn path(sandbox: &str, request: &ShellRequest) -> String {
    let mut pairs = Vec::new();
    if let Some(session) = &request.session {
        pairs.push(("session", session.clone()));
    }
    if request.new {
        pairs.push(("new", "true".to_owned()));
    }
    if let Some((rows, cols)) = request.size {
        pairs.push(("rows", rows.to_string()));
        pairs.push(("cols", cols.to_string()));
    }
    if let Some(term) = &request.term {
        pairs.push(("term", term.clone()));
    }
    if let Some(exec) = &request.exec {
        let exec = serde_json::to_string(exec).expect("the API's bodies have text keys only");
        pairs.push(("exec", exec));
    }
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
        .collect();
    format!("/sandboxes/{}/ws?{}", segment(sandbox), pairs.join("&"))
}

impl ShellInput {
    /// Passes keys on. Not cancel-safe: a part of them may have gone.
    pub async fn keys(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for chunk in bytes.chunks(MAX_CHUNK) {
            let message = Message::Binary(Bytes::copy_from_slice(chunk));
            self.sink.send(message).await.map_err(broken)?;
        }
        Ok(())
    }

    /// Says that the terminal has another size.
    pub async fn resize(&mut self, rows: u16, cols: u16) -> Result<(), Error> {
        let message = text(&TerminalControl::Resize { rows, cols });
        self.sink.send(message).await.map_err(broken)
    }
}

impl ShellOutput {
    /// Waits for the next thing the terminal does. Cancel-safe. After an end or an error there is
    /// nothing more.
    pub async fn next(&mut self) -> Result<ShellStep, Error> {
        loop {
            match said(&mut self.stream).await? {
                Said::Bytes(bytes) => return Ok(ShellStep::Output(bytes)),
                Said::Text(text) => {
                    if let Some(step) = step(text.as_str())? {
                        return Ok(step);
                    }
                }
            }
        }
    }
}

fn step(text: &str) -> Result<Option<ShellStep>, Error> {
    match serde_json::from_str(text) {
        Ok(TerminalEvent::Session {
            session_id,
            resumed,
        }) => Ok(Some(ShellStep::Attached {
            session: printable(&session_id),
            resumed,
        })),
        Ok(TerminalEvent::Exit { exit_code, .. }) => Ok(Some(ShellStep::Exit(exit_code))),
        Ok(TerminalEvent::TakenOver) => Ok(Some(ShellStep::TakenOver)),
        Ok(TerminalEvent::Error { data, hint }) => Err(Error::Exec {
            message: printable(&data),
            hint: hint.as_deref().map(printable),
        }),
        // Of a kind that is newer than this client.
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod test {
    use super::{ShellRequest, ShellStep, path, step};

    #[test]
    fn what_is_asked_for_is_in_the_path() {
        let none = path("dev", &ShellRequest::default());
        assert_eq!(none, "/sandboxes/dev/ws?");
        let some = ShellRequest {
            new: true,
            size: Some((24, 80)),
            term: Some("a&b".to_owned()),
            ..ShellRequest::default()
        };
        let expected = "/sandboxes/dev/ws?new=true&rows=24&cols=80&term=a%26b";
        assert_eq!(path("dev", &some), expected);
    }

    #[test]
    fn what_the_daemon_says_is_told_apart() {
        let told = |text| step(text).unwrap();
        let attached = told(r#"{"type":"session","session_id":"0a"}"#);
        let expected = ShellStep::Attached {
            session: "0a".to_owned(),
            resumed: false,
        };
        assert_eq!(attached, Some(expected));
        assert_eq!(
            told(r#"{"type":"exit","exit_code":3}"#),
            Some(ShellStep::Exit(3))
        );
        assert_eq!(told(r#"{"type":"taken_over"}"#), Some(ShellStep::TakenOver));
        assert_eq!(told(r#"{"type":"later"}"#), None);
        assert!(step(r#"{"type":"error","data":"no"}"#).is_err());
    }
}
