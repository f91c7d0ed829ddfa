//! Connections to services, kept for the next request.
//!
//! A kept connection keeps nobody awake: who uses it has the machine woken first. One that the
//! service, or the end of its machine, has closed is noticed when it is taken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::sites::{Site, Stream};

/// Most connections kept for one site.
const MAX_IDLE: usize = 64;
/// How long one is kept. Services close idle connections themselves: node after 5 s, nginx after
/// 75 s. A short time loses few races with them.
const KEEP: Duration = Duration::from_secs(4);
/// Longest head of an answer, in bytes.
const MAX_HEAD: usize = 256 * 1024;

/// Whatever went wrong with a body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// What requests and answers carry.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A connection to a service.
#[derive(Debug)]
pub enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<Body>),
    /// Many at once.
    Http2(http2::SendRequest<Body>),
}

/// A request that was not answered.
#[derive(Debug)]
pub struct NotSent {
    /// Why.
    pub error: hyper::Error,
    /// The request, if the service has seen nothing of it.
    pub request: Option<Box<Request<Body>>>,
}

impl Sender {
    /// Sends a request and waits for the head of its answer.
    pub async fn send(&mut self, request: Request<Body>) -> Result<Response<Incoming>, NotSent> {
        let sent = match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        };
        sent.map_err(|mut error| NotSent {
            request: error.take_message().map(Box::new),
            error: error.into_error(),
        })
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }
}

/// The kept connections of all sites, and the tasks that drive all of them.
#[derive(Debug, Default)]
pub struct Pool {
    kept: Mutex<HashMap<Key, Vec<Kept>>>,
    tasks: TaskTracker,
}

/// A service, and whether it is spoken to in HTTP/2.
type Key = (String, bool);

#[derive(Debug)]
struct Kept {
    sender: Sender,
    since: Instant,
}

impl Pool {
    /// A pool without connections.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A kept connection that is open as far as is known.
    pub fn take(&self, site: &Site, http2: bool) -> Option<Sender> {
        let mut kept = self.lock();
        let connections = kept.get_mut(&(site.id.clone(), http2))?;
        while let Some(Kept { sender, since }) = connections.pop() {
            if since.elapsed() > KEEP || sender.is_closed() {
                continue;
            }
            if let Sender::Http2(sender) = &sender {
                // Others use it too.
                let sender = Sender::Http2(sender.clone());
                connections.push(Kept { sender, since });
            }
            return Some(sender);
        }
        None
    }

    /// Speaks HTTP over a new connection.
    pub async fn open(
        self: &Arc<Self>,
        stream: Box<dyn Stream>,
        http2: bool,
    ) -> Result<Sender, hyper::Error> {
        let io = TokioIo::new(stream);
        if http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            self.drive(connection);
            Ok(Sender::Http2(sender))
        } else {
            let (sender, connection) = http1::Builder::new()
                .max_buf_size(MAX_HEAD)
                .preserve_header_case(true)
                .handshake(io)
                .await?;
            self.drive(connection.with_upgrades());
            Ok(Sender::Http1(sender))
        }
    }

    fn drive(&self, connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
        let driven = async move {
            if let Err(error) = connection.await {
                // Services end connections as they like.
                tracing::debug!(%error, "a connection to a service ended early");
            }
        };
        self.tasks.spawn(driven.in_current_span());
    }

    /// Keeps a connection once its answer has been read.
    pub fn put(self: &Arc<Self>, site: &Site, mut sender: Sender) {
        let (pool, id) = (Arc::clone(self), site.id.clone());
        match sender {
            Sender::Http2(_) => pool.keep((id, true), sender),
            Sender::Http1(_) => {
                self.tasks.spawn(async move {
                    let Sender::Http1(waiting) = &mut sender else {
                        return;
                    };
                    // An error is its end.
                    if waiting.ready().await.is_ok() {
                        pool.keep((id, false), sender);
                    }
                });
            }
        }
    }

    fn keep(&self, key: Key, sender: Sender) {
        let mut kept = self.lock();
        let connections = kept.entry(key).or_default();
        connections.retain(|kept| kept.since.elapsed() <= KEEP && !kept.sender.is_closed());
        let shared = matches!(sender, Sender::Http2(_));
        if connections.len() < MAX_IDLE && (connections.is_empty() || !shared) {
            connections.push(Kept {
                sender,
                since: Instant::now(),
            });
        }
    }

    /// Lets go of connections that have been kept too long, and of sites that have none.
    pub fn sweep(&self) {
        let mut kept = self.lock();
        kept.retain(|_, connections| {
            connections.retain(|kept| kept.since.elapsed() <= KEEP && !kept.sender.is_closed());
            !connections.is_empty()
        });
    }

    /// Lets go of all connections, and waits until those in use have ended.
    pub async fn close(&self) {
        self.lock().clear();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The tasks that live as long as connections do.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Vec<Kept>>> {
        // Whole after every statement.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
