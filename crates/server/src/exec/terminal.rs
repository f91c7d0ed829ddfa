//! A terminal over a WebSocket; the protocol is described in [`bhatti_api::shell`].

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bhatti_api::exec::ExecEvent;
use bhatti_api::shell::{MAX_CHUNK, TerminalControl, TerminalEvent};
use bhatti_engine::error::Error as EngineError;
use bhatti_engine::view::Lease;
use bhatti_guest::terminal::{self as guest, Size, Terminal, TerminalKeys, TerminalOutput};
use bhatti_types::id::RequestId;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, interval_at, timeout};

use crate::body::parse;
use crate::error::ApiError;
use crate::exec::process::Exit;
use crate::exec::socket::last_words;

/// How often a silent connection is tried, which is what finds out that the client is gone.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time for the client to close the connection after the last message.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Time for the client to take something in. One that is stuck for longer is gone: its place is
/// then free for another, and the session goes on.
const SEND_LIMIT: Duration = Duration::from_mins(2);

type Sink = SplitSink<WebSocket, Message>;
type Source = SplitStream<WebSocket>;

/// Why somebody is attached no more.
enum End {
    /// With these words.
    Told(TerminalEvent),
    /// The client is gone.
    Gone,
}

/// Carries keys and output until the program ends, another takes over, or the client goes.
pub(crate) async fn carry(
    socket: WebSocket,
    terminal: Terminal,
    lease: Lease,
    request: &RequestId,
) {
    let (mut sink, mut source) = socket.split();
    let Terminal {
        session,
        resumed,
        mut input,
        mut output,
    } = terminal;
    let first = TerminalEvent::Session {
        session_id: session,
        resumed,
    };
    if send(&mut sink, text(&first)).await.is_err() {
        return;
    }
    let end = tokio::select! {
        end = send_output(&mut sink, &mut output, request) => end,
        end = take_input(&mut source, &mut input, request) => end,
    };
    // Detached before the client is told.
    drop((input, output, lease));
    if let End::Told(last) = end {
        close(&mut sink, &mut source, &last).await;
    }
}

/// Tells that there is no terminal.
pub(crate) async fn refuse(socket: WebSocket, error: &ApiError, request: &RequestId) {
    let (mut sink, mut source) = socket.split();
    close(&mut sink, &mut source, &words(error, request)).await;
}

fn words(error: &ApiError, request: &RequestId) -> TerminalEvent {
    match last_words(error, request) {
        ExecEvent::Error { data, hint } => TerminalEvent::Error { data, hint },
        other => TerminalEvent::Error {
            data: format!("{other:?}"),
            hint: None,
        },
    }
}

async fn send_output(sink: &mut Sink, output: &mut TerminalOutput, request: &RequestId) -> End {
    let mut ping = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    loop {
        let sent = tokio::select! {
            event = output.next() => match event {
                Ok(guest::TerminalEvent::Output(bytes)) => send_bytes(sink, bytes).await,
                Ok(guest::TerminalEvent::Exit(status)) => {
                    let exit = Exit::from(status);
                    return End::Told(TerminalEvent::Exit {
                        exit_code: exit.code,
                        signal: exit.signal,
                    });
                }
                Ok(guest::TerminalEvent::TakenOver) => return End::Told(TerminalEvent::TakenOver),
                Err(error) => {
                    let error = ApiError::from(EngineError::from(error));
                    return End::Told(words(&error, request));
                }
            },
            _ = ping.tick() => send(sink, Message::Ping(Bytes::new())).await,
        };
        if sent.is_err() {
            return End::Gone;
        }
    }
}

async fn send_bytes(sink: &mut Sink, mut bytes: Bytes) -> Result<(), Gone> {
    while !bytes.is_empty() {
        let chunk = bytes.split_to(bytes.len().min(MAX_CHUNK));
        send(sink, Message::Binary(chunk)).await?;
    }
    Ok(())
}

/// The client takes nothing any more.
struct Gone;

async fn send(sink: &mut Sink, message: Message) -> Result<(), Gone> {
    match timeout(SEND_LIMIT, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Gone),
    }
}

async fn take_input(source: &mut Source, input: &mut TerminalKeys, request: &RequestId) -> End {
    loop {
        let done = match source.next().await {
            Some(Ok(Message::Binary(bytes))) => input.keys(bytes).await.map_err(EngineError::from),
            Some(Ok(Message::Text(text))) => match parse(text.as_bytes()) {
                Ok(TerminalControl::Resize { rows, cols }) => {
                    let resized = input.resize(Size { rows, cols }).await;
                    resized.map_err(EngineError::from)
                }
                Err(error) => return End::Told(words(&error, request)),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
        };
        if let Err(error) = done {
            return End::Told(words(&error.into(), request));
        }
    }
}

fn text(event: &TerminalEvent) -> Message {
    Message::text(serde_json::to_string(event).expect("an event has text keys only"))
}

/// Sends the last event and closes the connection in an orderly way.
async fn close(sink: &mut Sink, source: &mut Source, last: &TerminalEvent) {
    let closing = async {
        sink.send(text(last)).await?;
        sink.send(Message::Close(None)).await?;
        while let Some(message) = source.next().await {
            message?;
        }
        Ok::<_, axum::Error>(())
    };
    // A client that does not take it or is gone has nothing more to be told.
    let _ = timeout(CLOSE_LIMIT, closing).await;
}
