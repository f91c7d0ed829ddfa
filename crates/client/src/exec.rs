//! A command that runs in a sandbox, its input and output byte-exact: the WebSocket described in
//! [`bhatti_api::exec`].

use bhatti_api::exec::{
    CHANNEL_STDERR, CHANNEL_STDIN, CHANNEL_STDOUT, ExecControl, ExecEvent, ExecRequest, MAX_CHUNK,
    WS_PROTOCOL,
};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Method, StatusCode};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use crate::client::{CHANGE_TIMEOUT, Client, segment};
use crate::error::Error;
use crate::reply::printable;

/// Longest message that is taken from the daemon, in bytes: a chunk of output with its channel.
/// Text messages are shorter than that.
const MAX_MESSAGE: usize = MAX_CHUNK + 1;

pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// The way in: standard input and signals. Dropping both halves ends the command.
pub struct ExecInput {
    sink: SplitSink<Socket, Message>,
}

/// The way out: what the command writes, and how it ends.
pub struct ExecOutput {
    stream: SplitStream<Socket>,
}

/// Something the command did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecStep {
    /// It wrote to its standard output.
    Stdout(Bytes),
    /// It wrote to its standard error.
    Stderr(Bytes),
    /// It ended. Nothing follows.
    Exit(ExecExit),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecExit {
    /// Exit code, or 128 + the signal.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It was ended because its time was up.
    pub timed_out: bool,
}

impl Client {
    /// Starts a command. With `request.stdin`, its input is to be ended by
    /// [`ExecInput::stdin_end`].
    pub async fn exec_start(
        &self,
        sandbox: &str,
        request: &ExecRequest,
    ) -> Result<(ExecInput, ExecOutput), Error> {
        // Waking the sandbox may come before the answer.
        let path = format!("/sandboxes/{}/exec/ws", segment(sandbox));
        let opening = self.open_socket(&path, Some(WS_PROTOCOL), "GET /sandboxes/{id}/exec/ws");
        let socket = match timeout(CHANGE_TIMEOUT, opening).await {
            Ok(socket) => socket?,
            Err(_) => {
                return Err(Error::Timeout {
                    endpoint: self.endpoint().clone(),
                    seconds: CHANGE_TIMEOUT.as_secs(),
                });
            }
        };
        let (mut sink, stream) = socket.split();
        sink.send(text(request)).await.map_err(broken)?;
        Ok((ExecInput { sink }, ExecOutput { stream }))
    }

    /// Opens a WebSocket, of a subprotocol if one is given.
    pub(crate) async fn open_socket(
        &self,
        path: &str,
        protocol: Option<&str>,
        what: &'static str,
    ) -> Result<Socket, Error> {
        let key = generate_key();
        let mut request = self
            .request(Method::GET, path)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key);
        if let Some(protocol) = protocol {
            request = request.header(SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        let request = request
            .body(Full::<Bytes>::default())
            .expect("paths are percent-encoded and headers are checked");
        let (response, _driver) = self.send(request).await?;
        let foreign = || Error::Foreign {
            endpoint: self.endpoint().clone(),
            what,
            source: None,
        };
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let reply = self.read(response).await?;
            return Err(if reply.status.is_success() {
                foreign()
            } else {
                reply.refusal()
            });
        }
        let header = |name| {
            response
                .headers()
                .get(name)
                .map(http::HeaderValue::as_bytes)
        };
        if header(SEC_WEBSOCKET_ACCEPT) != Some(derive_accept_key(key.as_bytes()).as_bytes())
            || header(SEC_WEBSOCKET_PROTOCOL) != protocol.map(str::as_bytes)
        {
            return Err(foreign());
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|source| Error::Broken {
                endpoint: self.endpoint().clone(),
                source,
            })?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        Ok(
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config))
                .await,
        )
    }
}

impl ExecInput {
    /// Passes on bytes of standard input; waits while the daemon takes no more. Not cancel-safe:
    /// a part of the bytes may have gone.
    pub async fn stdin(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // An empty message would be the end of the input.
        for chunk in bytes.chunks(MAX_CHUNK) {
            let mut message = BytesMut::with_capacity(chunk.len() + 1);
            message.put_u8(CHANNEL_STDIN);
            message.put_slice(chunk);
            self.sink
                .send(Message::Binary(message.freeze()))
                .await
                .map_err(broken)?;
        }
        Ok(())
    }

    /// Ends standard input. Once is enough.
    pub async fn stdin_end(&mut self) -> Result<(), Error> {
        let message = Message::Binary(Bytes::from_static(&[CHANNEL_STDIN]));
        self.sink.send(message).await.map_err(broken)
    }

    /// Sends a signal, by its number on Linux, to the command's process group.
    pub async fn signal(&mut self, signal: i32) -> Result<(), Error> {
        self.sink
            .send(text(&ExecControl::Signal { signal }))
            .await
            .map_err(broken)
    }
}

impl ExecOutput {
    /// Waits for the next thing the command does. Cancel-safe. After [`ExecStep::Exit`] or an
    /// error there is nothing more.
    pub async fn next(&mut self) -> Result<ExecStep, Error> {
        loop {
            let step = match said(&mut self.stream).await? {
                Said::Bytes(bytes) => output(bytes),
                Said::Text(text) => event(text.as_str())?,
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }
}

/// A binary message; `None` for a channel that a later daemon may have.
fn output(mut bytes: Bytes) -> Option<ExecStep> {
    let channel = *bytes.first()?;
    let payload = bytes.split_off(1);
    match channel {
        CHANNEL_STDOUT => Some(ExecStep::Stdout(payload)),
        CHANNEL_STDERR => Some(ExecStep::Stderr(payload)),
        _ => None,
    }
}

/// A text message; `None` for one that a later daemon may send.
fn event(text: &str) -> Result<Option<ExecStep>, Error> {
    match serde_json::from_str(text) {
        Ok(ExecEvent::Exit {
            exit_code,
            signal,
            timed_out,
        }) => Ok(Some(ExecStep::Exit(ExecExit {
            code: exit_code,
            signal,
            timed_out,
        }))),
        Ok(ExecEvent::Error { data, hint }) => Err(Error::Exec {
            message: printable(&data),
            hint: hint.as_deref().map(printable),
        }),
        // Output comes in binary messages here; unknown types are for later clients.
        Ok(ExecEvent::Stdout { .. } | ExecEvent::Stderr { .. }) | Err(_) => Ok(None),
    }
}

pub(crate) fn text(value: &impl Serialize) -> Message {
    Message::text(serde_json::to_string(value).expect("the API's messages have text keys only"))
}

/// Something that the daemon says over a WebSocket.
pub(crate) enum Said {
    Bytes(Bytes),
    Text(Utf8Bytes),
}

/// Waits for what the daemon says next. Cancel-safe.
pub(crate) async fn said(stream: &mut SplitStream<Socket>) -> Result<Said, Error> {
    while let Some(message) = stream.next().await {
        match message.map_err(broken)? {
            Message::Binary(bytes) => return Ok(Said::Bytes(bytes)),
            Message::Text(text) => return Ok(Said::Text(text)),
            Message::Close(_) => break,
            // The WebSocket layer answers pings by itself.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }
    Err(Error::ExecBroken { source: None })
}

pub(crate) fn broken(source: WsError) -> Error {
    let source = match source {
        WsError::ConnectionClosed
        | WsError::AlreadyClosed
        | WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        other => Some(Box::new(other)),
    };
    Error::ExecBroken { source }
}

#[cfg(test)]
mod test {
    use bytes::Bytes;

    use super::{ExecExit, ExecStep, event, output};

    #[test]
    fn output_keeps_every_byte() {
        let step = output(Bytes::from_static(b"\x01\x00\xff\n"));
        assert_eq!(
            step,
            Some(ExecStep::Stdout(Bytes::from_static(b"\x00\xff\n")))
        );
        let step = output(Bytes::from_static(b"\x02"));
        assert_eq!(step, Some(ExecStep::Stderr(Bytes::new())));
    }

    #[test]
    fn what_a_later_daemon_sends_is_passed_over() {
        assert_eq!(output(Bytes::new()), None);
        assert_eq!(output(Bytes::from_static(b"\x09x")), None);
        assert_eq!(event(r#"{"type":"progress"}"#).unwrap(), None);
    }

    #[test]
    fn the_end_and_an_error_are_told_apart() {
        let exit = event(r#"{"type":"exit","exit_code":137,"signal":9}"#).unwrap();
        let expected = ExecExit {
            code: 137,
            signal: Some(9),
            timed_out: false,
        };
        assert_eq!(exit, Some(ExecStep::Exit(expected)));
        let error = event(r#"{"type":"error","data":"gone\nx","hint":"h"}"#).unwrap_err();
        assert_eq!(error.to_string(), "gone x");
        assert_eq!(error.hint().as_deref(), Some("h"));
    }
}
