//! A command over a WebSocket; the protocol is described in [`bhatti_api::exec`].

use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bhatti_api::exec::{
    CHANNEL_STDERR, CHANNEL_STDIN, CHANNEL_STDOUT, ExecControl, ExecEvent, ExecRequest, MAX_CHUNK,
};
use bhatti_engine::error::Error as EngineError;
use bhatti_types::id::RequestId;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use tokio::time::{Instant, interval_at, timeout};

use crate::body::parse;
use crate::error::{ApiError, chain};
use crate::exec::process::{Exit, Input, Output, Step};

/// Time for the first message, which says what to run.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// How often a silent connection is tried. While a command takes none of its input, the client's
/// messages are not read, and this is what finds out that it is gone.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Time for the client to close the connection after the last message. Input that it sent
/// meanwhile is thrown away: a connection closed with bytes unread is reset, and the client might
/// never see how the command ended.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

type Sink = SplitSink<WebSocket, Message>;
type Source = SplitStream<WebSocket>;

/// Why a command over a WebSocket is over.
#[derive(Debug)]
enum End {
    /// It ended by itself.
    Exit(Exit),
    /// It could not go on, or the client broke the protocol.
    Error(ApiError),
    /// The client is gone.
    Gone,
}

/// Waits for the request. `None` if the client is gone.
pub(crate) async fn request(socket: &mut WebSocket) -> Option<Result<ExecRequest, ApiError>> {
    let first = async {
        loop {
            match socket.recv().await? {
                Ok(Message::Text(text)) => return Some(parse(text.as_bytes())),
                Ok(Message::Binary(_)) => {
                    return Some(Err(ApiError::malformed(
                        "the first message must be the request",
                    )));
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(_)) | Err(_) => return None,
            }
        }
    };
    timeout(REQUEST_LIMIT, first).await.unwrap_or_else(|_| {
        Some(Err(ApiError::malformed(format!(
            "the request did not come in {} s",
            REQUEST_LIMIT.as_secs()
        ))))
    })
}

/// Carries a command's input and output until it ends or the client goes, which ends it.
pub(crate) async fn carry(
    socket: WebSocket,
    input: impl Input,
    output: impl Output,
    request: &RequestId,
) {
    carry_with(PING_INTERVAL, socket, input, output, request).await;
}

async fn carry_with(
    ping: Duration,
    socket: WebSocket,
    mut input: impl Input,
    mut output: impl Output,
    request: &RequestId,
) {
    let (mut sink, mut source) = socket.split();
    let end = tokio::select! {
        end = send_output(&mut sink, &mut output, ping) => end,
        end = take_input(&mut source, &mut input) => end,
    };
    // Whatever still runs ends here, before the client is told.
    drop((input, output));
    let last = match end {
        End::Exit(exit) => ExecEvent::Exit {
            exit_code: exit.code,
            signal: exit.signal,
            timed_out: exit.timed_out,
        },
        End::Error(error) => last_words(&error, request),
        End::Gone => return,
    };
    close(&mut sink, &mut source, &last).await;
}

/// Tells that a command was not started.
///
/// What a shell would answer with an exit code of its own (127 not found, 126 not executable) is
/// answered so here: the reason on standard error, then the code. All else is an error.
pub(crate) async fn refuse(socket: WebSocket, error: ApiError, request: &RequestId) {
    let (mut sink, mut source) = socket.split();
    let last = match &error {
        ApiError::Engine(EngineError::Guest {
            message,
            exit_code: exit_code @ (126 | 127),
        }) => {
            let said = Bytes::from(format!("{message}\n"));
            if send_chunks(&mut sink, CHANNEL_STDERR, &said).await.is_err() {
                return;
            }
            ExecEvent::Exit {
                exit_code: *exit_code,
                signal: None,
                timed_out: false,
            }
        }
        _ => last_words(&error, request),
    };
    close(&mut sink, &mut source, &last).await;
}

/// An error as the last event of a command: scrubbed, and logged if it is the daemon's own.
pub(crate) fn last_words(error: &ApiError, request: &RequestId) -> ExecEvent {
    let body = error.body();
    let status = error.status();
    if status.is_server_error() {
        tracing::warn!(
            error = chain(error),
            "a command's connection ended with an error"
        );
    }
    let data = if status == StatusCode::INTERNAL_SERVER_ERROR {
        format!("{} (request {request})", body.error)
    } else {
        body.error
    };
    ExecEvent::Error {
        data,
        hint: body.hint,
    }
}

async fn send_output(sink: &mut Sink, output: &mut impl Output, ping: Duration) -> End {
    let mut ping = interval_at(Instant::now() + ping, ping);
    loop {
        let sent = tokio::select! {
            step = output.next() => match step {
                Ok(Step::Stdout(bytes)) => send_chunks(sink, CHANNEL_STDOUT, &bytes).await,
                Ok(Step::Stderr(bytes)) => send_chunks(sink, CHANNEL_STDERR, &bytes).await,
                Ok(Step::Exit(exit)) => return End::Exit(exit),
                Err(error) => return End::Error(error),
            },
            _ = ping.tick() => sink.send(Message::Ping(Bytes::new())).await,
        };
        if sent.is_err() {
            return End::Gone;
        }
    }
}

async fn send_chunks(sink: &mut Sink, channel: u8, bytes: &[u8]) -> Result<(), axum::Error> {
    for chunk in bytes.chunks(MAX_CHUNK) {
        let mut message = BytesMut::with_capacity(chunk.len() + 1);
        message.put_u8(channel);
        message.put_slice(chunk);
        sink.send(Message::Binary(message.freeze())).await?;
    }
    Ok(())
}

async fn take_input(source: &mut Source, input: &mut impl Input) -> End {
    loop {
        let done = match source.next().await {
            Some(Ok(Message::Binary(bytes))) => take_bytes(bytes, input).await,
            Some(Ok(Message::Text(text))) => match parse(text.as_bytes()) {
                Ok(ExecControl::Signal { signal }) => send_signal(signal, input).await,
                Err(error) => Err(error),
            },
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
        };
        match done {
            Ok(()) => {}
            // The link to the guest: the output's side knows better what happened to it, but it
            // may be waiting for a client that reads nothing.
            Err(error) => return End::Error(error),
        }
    }
}

async fn take_bytes(mut bytes: Bytes, input: &mut impl Input) -> Result<(), ApiError> {
    if bytes.first() != Some(&CHANNEL_STDIN) {
        return Err(ApiError::malformed(
            "a binary message must be standard input",
        ));
    }
    let payload = bytes.split_off(1);
    if payload.len() > MAX_CHUNK {
        return Err(ApiError::malformed(format!(
            "a message holds at most {MAX_CHUNK} bytes of standard input"
        )));
    }
    if payload.is_empty() {
        input.finish().await
    } else {
        input.write(payload).await
    }
}

async fn send_signal(signal: i32, input: &mut impl Input) -> Result<(), ApiError> {
    // Linux knows 1 to 64.
    if !(1..=64).contains(&signal) {
        return Err(ApiError::malformed(format!("there is no signal {signal}")));
    }
    input.signal(signal).await
}

/// Sends the last event and closes the connection in an orderly way.
async fn close(sink: &mut Sink, source: &mut Source, last: &ExecEvent) {
    let text = serde_json::to_string(last).expect("an event has text keys only");
    let closing = async {
        sink.send(Message::text(text)).await?;
        sink.send(Message::Close(None)).await?;
        while let Some(message) = source.next().await {
            message?;
        }
        Ok::<_, axum::Error>(())
    };
    // A client that does not take it or is gone has nothing more to be told.
    let _ = timeout(CLOSE_LIMIT, closing).await;
}

#[cfg(test)]
mod test {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use axum::Router;
    use axum::extract::WebSocketUpgrade;
    use axum::routing::get;
    use bhatti_api::exec::WS_PROTOCOL;
    use bhatti_engine::error::Error as EngineError;
    use bytes::Bytes;
    use futures::{SinkExt as _, StreamExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::oneshot;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

    use super::{PING_INTERVAL, carry, carry_with, refuse, request};
    use crate::error::ApiError;
    use crate::exec::process::script::{Script, cat, exit, stderr, stdout};
    use crate::exec::process::{Input, Output, Step};

    type Client = WebSocketStream<TcpStream>;

    /// What the server's end does once the request is there.
    #[derive(Clone, Copy)]
    enum Command {
        Cat,
        Script,
        NotFound,
        Fault,
    }

    /// Serves one command, and tells when its connection is over.
    async fn connect(command: Command) -> (Client, oneshot::Receiver<()>) {
        let (over, is_over) = oneshot::channel();
        let over = Arc::new(Mutex::new(Some(over)));
        let handler = async move |upgrade: WebSocketUpgrade| {
            upgrade
                .protocols([WS_PROTOCOL])
                .on_upgrade(async move |mut socket| {
                    let id = "req_0123456789abcdef".parse().unwrap();
                    match request(&mut socket).await {
                        None => {}
                        Some(Err(error)) => refuse(socket, error, &id).await,
                        Some(Ok(_)) => match command {
                            Command::Cat => {
                                let (input, output) = cat();
                                carry(socket, input, output, &id).await;
                            }
                            Command::Script => {
                                let (input, _output) = cat();
                                let script =
                                    Script::new([stdout(b"out\0\xff"), stderr(b"err"), exit(3)]);
                                carry(socket, input, script, &id).await;
                            }
                            Command::NotFound => {
                                let error = EngineError::Guest {
                                    message: "nosuch: not found".to_owned(),
                                    exit_code: 127,
                                };
                                refuse(socket, error.into(), &id).await;
                            }
                            Command::Fault => {
                                let source = std::io::Error::other("/var/lib/secret");
                                refuse(socket, EngineError::internal(source).into(), &id).await;
                            }
                        },
                    }
                    let over = over.lock().unwrap().take();
                    over.unwrap().send(()).unwrap();
                })
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/", get(handler));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let mut request = format!("ws://{address}/").into_client_request().unwrap();
        request
            .headers_mut()
            .insert("sec-websocket-protocol", WS_PROTOCOL.parse().unwrap());
        let stream = TcpStream::connect(address).await.unwrap();
        let (client, _) = tokio_tungstenite::client_async(request, stream)
            .await
            .unwrap();
        (client, is_over)
    }

    async fn start(client: &mut Client) {
        client
            .send(Message::text(r#"{"cmd":["x"],"stdin":true}"#))
            .await
            .unwrap();
    }

    fn chunk(channel: u8, bytes: &[u8]) -> Message {
        Message::binary([&[channel], bytes].concat())
    }

    /// All messages up to the close, pings left out.
    async fn rest(client: &mut Client) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            match message {
                Message::Ping(_) | Message::Close(_) => {}
                message => messages.push(message),
            }
        }
        messages
    }

    #[tokio::test]
    async fn output_comes_byte_by_byte_and_the_end_is_last() {
        let (mut client, over) = connect(Command::Script).await;
        start(&mut client).await;
        let expected = [
            chunk(1, b"out\0\xff"),
            chunk(2, b"err"),
            Message::text(r#"{"type":"exit","exit_code":3}"#),
        ];
        assert_eq!(rest(&mut client).await, expected);
        over.await.unwrap();
    }

    #[tokio::test]
    async fn input_goes_through_until_its_end() {
        let (mut client, _over) = connect(Command::Cat).await;
        start(&mut client).await;
        client.send(chunk(0, b"a\0\xff")).await.unwrap();
        client.send(chunk(0, b"")).await.unwrap();
        let expected = [
            chunk(1, b"a\0\xff"),
            Message::text(r#"{"type":"exit","exit_code":0}"#),
        ];
        assert_eq!(rest(&mut client).await, expected);
    }

    #[tokio::test]
    async fn a_signal_reaches_the_command() {
        let (mut client, _over) = connect(Command::Cat).await;
        start(&mut client).await;
        client
            .send(Message::text(r#"{"type":"signal","signal":15}"#))
            .await
            .unwrap();
        let expected = [Message::text(
            r#"{"type":"exit","exit_code":143,"signal":15}"#,
        )];
        assert_eq!(rest(&mut client).await, expected);
    }

    #[tokio::test]
    async fn a_client_that_goes_ends_the_command_even_while_it_takes_no_input() {
        let (mut client, over) = connect(Command::Cat).await;
        start(&mut client).await;
        // More than any buffer on the way holds: nobody reads what comes back.
        let flood = async { while client.send(chunk(0, &vec![b'x'; 60_000])).await.is_ok() {} };
        let blocked = tokio::time::timeout(Duration::from_secs(1), flood).await;
        assert!(blocked.is_err(), "the command's pipe is full");
        drop(client);
        over.await.unwrap();
    }

    #[tokio::test]
    async fn messages_that_break_the_protocol_end_the_command_with_a_reason() {
        for (message, reason) in [
            (chunk(7, b"x"), "a binary message must be standard input"),
            (
                Message::binary(Bytes::new()),
                "a binary message must be standard input",
            ),
            (
                chunk(0, &vec![0; 65_537]),
                "a message holds at most 65536 bytes of standard input",
            ),
            (
                Message::text("{"),
                "the body is not JSON: EOF while parsing an object",
            ),
            (
                Message::text(r#"{"type":"signal","signal":65}"#),
                "there is no signal 65",
            ),
        ] {
            let (mut client, _over) = connect(Command::Cat).await;
            start(&mut client).await;
            client.send(message).await.unwrap();
            let messages = rest(&mut client).await;
            let expected = format!(r#"{{"type":"error","data":"{reason}"}}"#);
            assert_eq!(messages, [Message::text(expected)]);
        }
    }

    #[tokio::test]
    async fn a_first_message_that_is_no_request_is_refused() {
        for message in [
            Message::text("[]"),
            chunk(0, b"x"),
            Message::text(r#"{"tty":true}"#),
        ] {
            let (mut client, _over) = connect(Command::Cat).await;
            client.send(message).await.unwrap();
            let messages = rest(&mut client).await;
            assert_eq!(messages.len(), 1, "{messages:?}");
            assert!(messages[0].to_text().unwrap().contains(r#""type":"error""#));
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_ends_as_it_does_in_a_shell() {
        let (mut client, _over) = connect(Command::NotFound).await;
        start(&mut client).await;
        let expected = [
            chunk(2, b"nosuch: not found\n"),
            Message::text(r#"{"type":"exit","exit_code":127}"#),
        ];
        assert_eq!(rest(&mut client).await, expected);
    }

    #[tokio::test]
    async fn a_fault_is_scrubbed() {
        let (mut client, _over) = connect(Command::Fault).await;
        start(&mut client).await;
        let expected = [Message::text(
            r#"{"type":"error","data":"internal error (request req_0123456789abcdef)"}"#,
        )];
        assert_eq!(rest(&mut client).await, expected);
    }

    /// A command that reads nothing.
    struct Deaf;

    impl Input for Deaf {
        async fn write(&mut self, _bytes: Bytes) -> Result<(), ApiError> {
            std::future::pending().await
        }
        async fn finish(&mut self) -> Result<(), ApiError> {
            Ok(())
        }
        async fn signal(&mut self, _number: i32) -> Result<(), ApiError> {
            Ok(())
        }
    }

    /// A command that writes nothing and ends when it is told to.
    struct Silent(oneshot::Receiver<()>);

    impl Output for Silent {
        async fn next(&mut self) -> Result<Step, ApiError> {
            (&mut self.0).await.unwrap();
            Ok(exit(0))
        }
    }

    /// Connects to a command that neither reads nor writes, until the sender says that it ends.
    async fn connect_to_silent(ping: Duration) -> (Client, oneshot::Sender<()>) {
        let (go, gone) = oneshot::channel();
        let gone = Arc::new(Mutex::new(Some(gone)));
        let handler = async move |upgrade: WebSocketUpgrade| {
            upgrade.on_upgrade(async move |socket| {
                let gone = gone.lock().unwrap().take().unwrap();
                let id = "req_0123456789abcdef".parse().unwrap();
                carry_with(ping, socket, Deaf, Silent(gone), &id).await;
            })
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/", get(handler));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let stream = TcpStream::connect(address).await.unwrap();
        let url = format!("ws://{address}/");
        let (client, _) = tokio_tungstenite::client_async(url, stream).await.unwrap();
        (client, go)
    }

    #[tokio::test]
    async fn a_client_that_goes_is_missed_although_its_input_waits_unread() {
        let (mut client, mut go) = connect_to_silent(Duration::from_millis(10)).await;
        for _ in 0..2 {
            client.send(chunk(0, b"x")).await.unwrap();
        }
        drop(client);
        go.closed().await;
    }

    #[tokio::test]
    async fn an_exit_is_seen_although_input_was_left_unread() {
        let (client, go) = connect_to_silent(PING_INTERVAL).await;
        let (mut sink, mut source) = client.split();
        for _ in 0..20 {
            sink.send(chunk(0, &vec![b'x'; 60_000])).await.unwrap();
        }
        go.send(()).unwrap();
        loop {
            match source.next().await.unwrap().unwrap() {
                Message::Ping(_) => {}
                message => {
                    assert_eq!(message, Message::text(r#"{"type":"exit","exit_code":0}"#));
                    break;
                }
            }
        }
    }
}
