//! One stream of a link, shared by those who read it and those who write it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;

use crate::link::Inner;

/// A handle to a stream. The stream is reset when the last handle is dropped or one is closed.
///
/// One task may read while another writes; two readers or two writers at once are not foreseen.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    _permit: OwnedSemaphorePermit,
    // After the stream, so that the driver still runs when the reset is to be sent.
    link: Arc<Inner>,
}

#[derive(Debug)]
struct State {
    stream: Option<yamux::Stream>,
    /// Who waits to write: yamux forgets it if the stream goes while its queue is full.
    writer: Option<Waker>,
    reader: Option<Waker>,
}

impl Stream {
    pub(crate) fn new(
        stream: yamux::Stream,
        permit: OwnedSemaphorePermit,
        link: Arc<Inner>,
    ) -> Self {
        let state = State {
            stream: Some(stream),
            writer: None,
            reader: None,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                _permit: permit,
                link,
            }),
        }
    }

    pub(crate) fn link(&self) -> &Arc<Inner> {
        &self.shared.link
    }

    /// Ends the stream for all its handles.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        state.stream = None;
        for waker in [state.writer.take(), state.reader.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every statement, so a poisoned lock is as good.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        let Some(stream) = &mut state.stream else {
            return Poll::Ready(Err(closed()));
        };
        let polled = Pin::new(stream).poll_read(cx, buf);
        if polled.is_pending() {
            state.reader = Some(cx.waker().clone());
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.state();
        let Some(stream) = &mut state.stream else {
            return Poll::Ready(Err(closed()));
        };
        let polled = Pin::new(stream).poll_write(cx, buf);
        if polled.is_pending() {
            state.writer = Some(cx.waker().clone());
        }
        polled
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        let Some(stream) = &mut state.stream else {
            return Poll::Ready(Err(closed()));
        };
        let polled = Pin::new(stream).poll_flush(cx);
        if polled.is_pending() {
            state.writer = Some(cx.waker().clone());
        }
        polled
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        let Some(stream) = &mut state.stream else {
            return Poll::Ready(Ok(()));
        };
        let polled = Pin::new(stream).poll_close(cx);
        if polled.is_pending() {
            state.writer = Some(cx.waker().clone());
        }
        polled
    }
}
