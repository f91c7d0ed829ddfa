//! The guest's end of the agent link: it stands still with the vCPUs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::guest::Guest;

/// Whether the agent may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Passage {
    /// It may.
    Open,
    /// Its machine is gone.
    Gone,
}

/// A byte stream that a guest reads and writes only while it runs.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) stream: DuplexStream,
    pub(super) guest: Arc<Guest>,
}

impl AsyncRead for Gate {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(self.guest.poll_passage(cx)) {
            Passage::Open => Pin::new(&mut self.stream).poll_read(cx, buffer),
            Passage::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Gate {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(self.guest.poll_passage(cx)) {
            Passage::Open => Pin::new(&mut self.stream).poll_write(cx, bytes),
            Passage::Gone => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
