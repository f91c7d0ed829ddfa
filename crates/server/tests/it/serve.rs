//! Listening on real sockets, and the end of it.

use std::time::Duration;

use bhatti_engine::engine::Engine;
use bhatti_server::app::Options;
use bhatti_server::serve::{Listeners, ServeError, serve};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::engine;

/// A server on a unix socket and a port of its own.
struct Server {
    dir: tempfile::TempDir,
    tcp: std::net::SocketAddr,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), ServeError>>,
    engine: Engine,
}

impl Server {
    async fn start(stop_limit: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = engine(dir.path()).await;
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let listeners = Listeners {
            unix: UnixListener::bind(dir.path().join("bhatti.sock")).unwrap(),
            tcp: Some(tcp),
        };
        let options = Options {
            stop_limit,
            ..Options::default()
        };
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(serve(engine.clone(), listeners, options, shutdown.clone()));
        Self {
            dir,
            tcp: address,
            shutdown,
            running,
            engine,
        }
    }

    async fn unix(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("bhatti.sock"))
            .await
            .unwrap()
    }

    async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.tcp).await.unwrap()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.engine.close().await;
    }
}

/// Sends a request that closes its connection, and gives all of the answer.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, line: &str) -> String {
    let request = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Begins a request whose body is not all there yet.
async fn begin(stream: &mut (impl AsyncWrite + Unpin)) {
    let head = "POST /users HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n{\"name\":";
    stream.write_all(head.as_bytes()).await.unwrap();
}

/// Waits until the server has read what was sent on the stream before.
async fn settle(server: &Server) {
    // Connections are served in the order of their events, so an answer on a later one is a sign
    // that the earlier one was looked at; twice, for the task may have been on its way.
    for _ in 0..2 {
        assert!(
            ask(server.unix().await, "GET /health")
                .await
                .starts_with("HTTP/1.1 200")
        );
    }
}

#[tokio::test]
async fn the_unix_socket_needs_no_token_and_tcp_does() {
    let server = Server::start(Duration::from_secs(5)).await;
    assert!(
        ask(server.unix().await, "GET /users")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        ask(server.tcp().await, "GET /users")
            .await
            .starts_with("HTTP/1.1 401")
    );
    assert!(
        ask(server.tcp().await, "GET /health")
            .await
            .starts_with("HTTP/1.1 200")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_request_in_progress_is_answered_although_the_daemon_stops() {
    let server = Server::start(Duration::from_secs(30)).await;
    let (mut idle, mut busy) = (server.unix().await, server.unix().await);
    begin(&mut busy).await;
    settle(&server).await;
    server.shutdown.cancel();
    // An idle connection ends at once.
    let mut nothing = String::new();
    idle.read_to_string(&mut nothing).await.unwrap();
    busy.write_all(b"\"alice\"}").await.unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    server.stop().await;
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_off_when_the_time_is_up() {
    let server = Server::start(Duration::from_millis(100)).await;
    let mut hung = server.tcp().await;
    begin(&mut hung).await;
    settle(&server).await;
    server.stop().await;
    let mut answer = String::new();
    // Cut off: the end, or a reset because what was sent was not all read.
    let _ = hung.read_to_string(&mut answer).await;
    assert!(!answer.contains(" 201 "), "{answer}");
}

#[tokio::test]
async fn garbage_ends_its_own_connection_and_no_other() {
    let server = Server::start(Duration::from_secs(5)).await;
    for garbage in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
    ] {
        let mut stream = server.tcp().await;
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"));
    }
    assert!(
        ask(server.tcp().await, "GET /health")
            .await
            .starts_with("HTTP/1.1 200")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_client_sees_why_its_long_body_was_refused() {
    let server = Server::start(Duration::from_secs(5)).await;
    let mut stream = server.unix().await;
    let length = 3 * 1024 * 1024;
    let head = format!("POST /users HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; length]).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    drop(stream);
    server.stop().await;
}
