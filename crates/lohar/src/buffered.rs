//! Buffers under yamux that outlive a session.
//!
//! What was read ahead when a session breaks holds the greeting that broke it, so the input
//! buffer cannot be yamux's to lose.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bhatti_proto::mux::{FRAME_HEADER, MAX_FRAME_BODY};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Size of the input buffer, in bytes.
const INPUT: usize = 16 * 1024;
/// Size of the output buffer, in bytes: a frame goes out in one write.
const OUTPUT: usize = MAX_FRAME_BODY + 4 * FRAME_HEADER;

/// A byte stream with buffers either way.
pub(crate) struct Buffered<T> {
    io: T,
    input: Box<[u8]>,
    /// The part of `input` that is not consumed yet.
    start: usize,
    end: usize,
    output: Vec<u8>,
    /// The part of `output` that is written already.
    written: usize,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Buffered<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            io,
            input: vec![0; INPUT].into_boxed_slice(),
            start: 0,
            end: 0,
            output: Vec::with_capacity(OUTPUT),
            written: 0,
        }
    }

    /// What is there to be read, waiting until something is. Empty at the end of the stream.
    pub(crate) async fn fill(&mut self) -> io::Result<&[u8]> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await?;
        Ok(&self.input[self.start..self.end])
    }

    /// Marks bytes of the last [`Buffered::fill`] as read.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Drops what an earlier session left to be written.
    pub(crate) fn forget_output(&mut self) {
        self.output.clear();
        self.written = 0;
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.start == self.end {
            let mut buffer = ReadBuf::new(&mut self.input);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            (self.start, self.end) = (0, buffer.filled().len());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let rest = &self.output[self.written..];
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.forget_output();
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> futures::io::AsyncRead for Buffered<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_fill(cx))?;
        let count = buf.len().min(this.end - this.start);
        buf[..count].copy_from_slice(&this.input[this.start..this.start + count]);
        this.start += count;
        Poll::Ready(Ok(count))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> futures::io::AsyncWrite for Buffered<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.output.len() == OUTPUT {
            ready!(this.poll_drain(cx))?;
        }
        let count = buf.len().min(OUTPUT - this.output.len());
        this.output.extend_from_slice(&buf[..count]);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The port stays open for the next session.
        self.as_mut().poll_flush(cx)
    }
}
