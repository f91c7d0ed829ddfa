//! Listening, and the end of it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bhatti_engine::engine::Engine;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::app::{App, Options, router};
use crate::peer::{Peer, Place};

/// Most connections at once through each listener. Strangers on TCP do not use up the local
/// administrator's.
const MAX_CONNECTIONS: usize = 1024;
/// Time for a client to send the head of its next request. An idle connection ends with it too.
const HEAD_LIMIT: Duration = Duration::from_mins(1);
/// Pause after a connection could not be taken, for want of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long changes in progress are waited for after connections were closed. The engine bounds
/// each of them; this bounds a daemon that is broken.
const CHANGES_LIMIT: Duration = Duration::from_mins(2);
/// When TCP begins to ask a silent client for a sign of life, how often, and how many times.
/// Without it a client whose machine is gone would hold its command for ever.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_mins(1), Duration::from_secs(20), 3);

/// The server did not end as it should.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Something would not end.
    #[error("{tasks} changes or connections did not end in {seconds} s")]
    Unfinished {
        /// How many.
        tasks: usize,
        /// The time they had, in seconds.
        seconds: u64,
    },
}

/// Where the API is served.
#[derive(Debug)]
pub struct Listeners {
    /// The local administrator's way in.
    pub unix: UnixListener,
    /// Everybody's, with a token.
    pub tcp: Option<TcpListener>,
}

/// Serves the API until `shutdown` is cancelled and requests in progress have ended.
///
/// After `shutdown` no connection is taken. Requests have [`Options::stop_limit`] to end; then
/// connections are closed, which ends attached commands. Changes in progress are waited for;
/// [`ServeError::Unfinished`] if they do not end.
pub async fn serve(
    engine: Engine,
    listeners: Listeners,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    let app = App::new(engine, options);
    let server = Arc::new(Server {
        router: router(&app),
        app,
        shutdown,
    });
    // Tasks, so that a connection is taken and served by the thread that saw it come. The caller's
    // own future is polled by a thread that does nothing else, and to wake that takes longer than
    // to answer a small request.
    let mut accepting = JoinSet::new();
    accepting.spawn(server.clone().accept(listeners.unix, "unix"));
    if let Some(tcp) = listeners.tcp {
        accepting.spawn(server.clone().accept(tcp, "tcp"));
    }
    while let Some(ended) = accepting.join_next().await {
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
    server.stop().await
}

struct Server {
    app: App,
    router: Router,
    shutdown: CancellationToken,
}

/// A socket that takes connections.
trait Listener {
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    async fn accept(&self) -> std::io::Result<(Self::Stream, Peer)>;
}

impl Listener for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> std::io::Result<(Self::Stream, Peer)> {
        let (stream, _) = self.accept().await?;
        let peer = Peer::of_unix(&stream);
        Ok((stream, peer))
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> std::io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.accept().await?;
        prepare_tcp(&stream)?;
        Ok((stream, Peer::Tcp(address)))
    }
}

fn prepare_tcp(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;

    let (idle, interval, count) = KEEPALIVE;
    // Output of commands comes in small pieces that should not wait for each other.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, idle)?;
    sockopt::set_tcp_keepintvl(stream, interval)?;
    sockopt::set_tcp_keepcnt(stream, count)?;
    Ok(())
}

impl Server {
    async fn accept<L: Listener>(self: Arc<Self>, listener: L, name: &'static str) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let next = async || {
            let place = places.clone().acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            (listener.accept().await, Place::new(place))
        };
        loop {
            let (accepted, place) = tokio::select! {
                next = next() => next,
                () = self.shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = self.clone().connection(stream, peer, place);
                    self.app.tasks().spawn(connection);
                }
                Err(error) => {
                    tracing::warn!(listener = name, %error, "failed to take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves one connection until it ends; it holds its place till then.
    async fn connection<S>(self: Arc<Self>, stream: S, peer: Peer, place: Place)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let service = service_fn(async |request: http::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer);
            request.extensions_mut().insert(place.clone());
            self.router.clone().oneshot(request).await
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = self.app.closing().cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            // Clients go away as they like.
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn stop(&self) -> Result<(), ServeError> {
        let tasks = self.app.tasks();
        tasks.close();
        let limit = self.app.options().stop_limit;
        if tokio::time::timeout(limit, tasks.wait()).await.is_ok() {
            return Ok(());
        }
        tracing::warn!(
            seconds = limit.as_secs(),
            tasks = tasks.len(),
            "closing what has not finished in time"
        );
        self.app.closing().cancel();
        tokio::time::timeout(CHANGES_LIMIT, tasks.wait())
            .await
            .map_err(|_| ServeError::Unfinished {
                tasks: tasks.len(),
                seconds: (limit + CHANGES_LIMIT).as_secs(),
            })
    }
}

#[cfg(test)]
mod test {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use bhatti_engine::config::EngineConfig;
    use bhatti_engine::engine::Engine;
    use bytes::Bytes;
    use futures::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{UnixListener, UnixStream};
    use tokio::sync::oneshot;
    use tokio_util::sync::CancellationToken;

    use super::Server;
    use crate::app::{App, Options};

    /// Told, by being dropped, when a handler is.
    type Held = Arc<Mutex<Option<oneshot::Sender<()>>>>;

    /// A handler that waits for ever, before its answer or in the middle of it.
    fn waiting(held: Held) -> Router {
        let streaming = held.clone();
        Router::new()
            .route(
                "/wait",
                get(async move || {
                    let _held = held.lock().unwrap().take();
                    std::future::pending::<()>().await;
                }),
            )
            .route(
                "/stream",
                get(async move || {
                    let held = streaming.lock().unwrap().take();
                    let first = futures::stream::iter([Ok::<_, Infallible>(Bytes::from("line\n"))]);
                    let rest = futures::stream::once(async move {
                        let _held = held;
                        std::future::pending().await
                    });
                    Body::from_stream(first.chain(rest))
                }),
            )
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_its_request() {
        for path in ["/wait", "/stream"] {
            let dir = tempfile::tempdir().unwrap();
            let engine = Engine::open(EngineConfig::new(dir.path().to_owned()))
                .await
                .unwrap();
            let (sender, ended) = oneshot::channel();
            let held = Arc::new(Mutex::new(Some(sender)));
            let server = Arc::new(Server {
                router: waiting(held.clone()),
                app: App::new(engine, Options::default()),
                shutdown: CancellationToken::new(),
            });
            let socket = dir.path().join("test.sock");
            let listener = UnixListener::bind(&socket).unwrap();
            let accepting = tokio::spawn(server.clone().accept(listener, "test"));
            let mut client = UnixStream::connect(&socket).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
            client.write_all(request.as_bytes()).await.unwrap();
            if path == "/stream" {
                let mut seen = String::new();
                while !seen.contains("line\n") {
                    seen.push(char::from(client.read_u8().await.unwrap()));
                }
            } else {
                while held.lock().unwrap().is_some() {
                    tokio::task::yield_now().await;
                }
            }
            drop(client);
            let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
            assert!(ended.unwrap().is_err(), "{path}: the handler was dropped");
            server.shutdown.cancel();
            accepting.await.unwrap();
        }
    }
}
