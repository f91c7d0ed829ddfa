//! The task that moves the bytes of one link.
//!
//! It owns the yamux connection. It ends when the connection does, when the guest breaks a rule,
//! or when the last handle is dropped, and leaves the reason for all who ask.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bhatti_proto::mux::{Breach, Observer, Watched};
use futures::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::yield_now;
use tokio::time::timeout;
use yamux::{Connection, ConnectionError, FrameDecodeError};

use crate::error::LinkError;

/// Requests that may wait for the driver. More wait for room.
pub(crate) const REQUESTS: usize = 32;
/// How long the driver goes on after the last handle was dropped, for what is still to be sent:
/// the resets of dropped commands, which kill them.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
/// Turns in which yamux takes in the streams dropped last; it may take several, since it shares
/// its turns out among streams.
const FLUSH_TURNS: usize = 64;

/// What handles ask of the driver.
pub(crate) enum Request {
    /// Open a stream.
    Open(oneshot::Sender<yamux::Stream>),
    /// Answer if the link is up. Asked when a stream ends, which looks the same whether it was
    /// reset or the whole link went.
    Probe(oneshot::Sender<()>),
    /// End the link for this reason.
    Fail(LinkError),
}

pub(crate) struct Driver<T> {
    connection: Connection<Watched<T>>,
    observer: Observer,
    requests: mpsc::Receiver<Request>,
    /// A caller that waits until yamux can open another stream.
    opening: Option<oneshot::Sender<yamux::Stream>>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    pub(crate) fn new(io: T, requests: mpsc::Receiver<Request>) -> Self {
        let (io, observer) = Watched::new(io);
        Self {
            connection: Connection::new(io, bhatti_proto::mux::config(), yamux::Mode::Client),
            observer,
            requests,
            opening: None,
        }
    }

    /// Moves bytes until the link ends.
    pub(crate) async fn run(mut self, ended: watch::Sender<Option<Arc<LinkError>>>) {
        let reason = if let Some(reason) = poll_fn(|cx| self.poll(cx)).await {
            reason
        } else {
            self.flush().await;
            LinkError::Closed
        };
        ended.send_replace(Some(Arc::new(reason)));
    }

    /// Ready with the reason when the link is over; with `None` when all handles are gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<LinkError>> {
        loop {
            // Before anything else, and again after every new stream, which yamux does not wait
            // on until it is polled.
            if let Poll::Ready(reason) = self.poll_connection(cx) {
                return Poll::Ready(Some(reason));
            }
            let Some(opening) = self.opening.take() else {
                match self.requests.poll_recv(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Ready(Some(Request::Fail(reason))) => return Poll::Ready(Some(reason)),
                    Poll::Ready(Some(Request::Open(opening))) => self.opening = Some(opening),
                    Poll::Ready(Some(Request::Probe(answer))) => {
                        // Whoever asked may be gone.
                        let _ = answer.send(());
                    }
                }
                continue;
            };
            if opening.is_closed() {
                continue;
            }
            match self.connection.poll_new_outbound(cx) {
                Poll::Ready(Ok(stream)) => {
                    // A caller that is gone drops the stream unused.
                    let _ = opening.send(stream);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(self.reason(error))),
                Poll::Pending => {
                    self.opening = Some(opening);
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<LinkError> {
        let polled = match self.connection.poll_next_inbound(cx) {
            Poll::Ready(Some(Ok(_stream))) => {
                Poll::Ready(misbehaved("opened a stream to the host"))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(self.reason(error)),
            Poll::Ready(None) => Poll::Ready(self.reason(ConnectionError::Closed)),
            Poll::Pending => Poll::Pending,
        };
        // yamux answers some breaches and goes on; the link does not.
        match self.observer.observations().breach {
            Some(breach) => Poll::Ready(reason_of(&breach)),
            None => polled,
        }
    }

    fn reason(&self, error: ConnectionError) -> LinkError {
        let seen = self.observer.observations();
        if let Some(breach) = seen.breach {
            return reason_of(&breach);
        }
        match error {
            ConnectionError::Closed => LinkError::Gone,
            // A frame cut short by the end of the stream is no breach: a VMM may end at any time.
            ConnectionError::Decode(_) if seen.eof => LinkError::Gone,
            ConnectionError::Io(source) | ConnectionError::Decode(FrameDecodeError::Io(source)) => {
                io_reason(source)
            }
            ConnectionError::Decode(error) => misbehaved(&format!("sent a bad frame: {error}")),
            ConnectionError::TooManyStreams => misbehaved("left too many streams unattended"),
            error => misbehaved(&format!("made yamux fail: {error}")),
        }
    }

    /// Sends what is still to be sent, as far as the guest takes it.
    async fn flush(&mut self) {
        let turns = async {
            for _ in 0..FLUSH_TURNS {
                let over = poll_fn(|cx| Poll::Ready(self.poll_connection(cx).is_ready())).await;
                if over {
                    return;
                }
                yield_now().await;
            }
            poll_fn(|cx| match self.poll_connection(cx) {
                Poll::Pending if self.observer.observations().write_blocked => Poll::Pending,
                _ => Poll::Ready(()),
            })
            .await;
        };
        // A guest that takes nothing any more has its commands end when it notices the link's end.
        let _ = timeout(FLUSH_LIMIT, turns).await;
    }
}

/// A socket whose other end has died with bytes unread is reset, and has ended all the same.
fn io_reason(source: io::Error) -> LinkError {
    match source.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => LinkError::Gone,
        _ => LinkError::Io { source },
    }
}

fn reason_of(breach: &Breach) -> LinkError {
    match breach {
        Breach::GoAway { code: 0 } => LinkError::Gone,
        breach => misbehaved(&breach.to_string()),
    }
}

fn misbehaved(what: &str) -> LinkError {
    LinkError::Misbehaved {
        what: what.to_owned(),
    }
}
