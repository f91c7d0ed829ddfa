//! A connection to a service in the guest.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bhatti_proto::codec::MessageReader;
use bytes::{Buf as _, BytesMut};
use futures::io::{AsyncRead as _, AsyncWrite as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::stream::Stream;

/// A connection to a TCP port of the guest's: a byte stream whose two directions end each for
/// itself. Dropping it before that resets the connection in the guest.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// What came with the answer.
    first: BytesMut,
}

impl Connection {
    /// What follows the answer.
    pub(crate) fn new(replies: MessageReader<Stream>) -> Self {
        let (stream, first) = replies.into_parts();
        Self { stream, first }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let taken = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first[..taken]);
            self.first.advance(taken);
            return Poll::Ready(Ok(()));
        }
        let filled =
            std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buf.initialize_unfilled()))?;
        buf.advance(filled);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}
