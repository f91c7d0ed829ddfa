//! yamux as the link uses it: settings, and a watch on what goes over the wire.
//!
//! yamux takes frame bodies of up to 1 MiB, drops frames that break its rules after answering
//! with a go-away, and reports an orderly end and a torn wire alike. [`Watched`] sits below it
//! and reads frame headers as they pass, so that each end of a link can be told by its reason,
//! and no body is longer than [`MAX_FRAME_BODY`].
//!
//! yamux also pings the other end to measure the way there, which is of no use here: windows do
//! not grow. And it is of harm: while a pong cannot be written, yamux does not read, so two ends
//! with full buffers that ping each other wait for each other for ever. [`Watched`] keeps those
//! pings off the wire; without an answer to the first, yamux sends no second.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use futures::io::{AsyncRead, AsyncWrite};

/// Length of a yamux frame header, in bytes.
pub const FRAME_HEADER: usize = 12;
/// Longest frame body either side sends, in bytes. It bounds what a resync has to pad.
pub const MAX_FRAME_BODY: usize = 16 * 1024;
/// Streams the daemon may have open on one link.
pub const MAX_STREAMS: usize = 512;
/// Streams at which yamux itself gives up. Above [`MAX_STREAMS`] by as much as may be closed but
/// not yet cleared away, for yamux ends the whole connection here.
const MAX_STREAMS_HARD: usize = 1024;
/// Window that yamux gives each stream at first, in bytes; it does not grow here, for the two
/// ends are never far apart and the memory is the daemon's and the guest's.
const STREAM_WINDOW: usize = yamux::DEFAULT_CREDIT as usize;

/// yamux settings of both ends.
pub fn config() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS_HARD);
    config.set_max_connection_receive_window(Some(MAX_STREAMS_HARD * STREAM_WINDOW));
    config.set_split_send_size(MAX_FRAME_BODY);
    config
}

/// A rule of the link that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// Not a yamux frame header.
    #[error("sent bytes that are no yamux frame")]
    NotAFrame,
    /// A body over [`MAX_FRAME_BODY`].
    #[error("sent a frame of {length} bytes, over the limit of {MAX_FRAME_BODY}")]
    FrameTooLong {
        /// Its length.
        length: u32,
    },
    /// yamux at this end complained to the other one.
    #[error("broke the rules of yamux (error {code})")]
    Complaint {
        /// yamux's error code: 1 protocol, 2 internal.
        code: u32,
    },
    /// yamux at the other end complained to this one, or it said it was leaving.
    #[error("left the link (code {code})")]
    GoAway {
        /// 0 for an orderly end, else yamux's error code.
        code: u32,
    },
}

/// What has been seen on the wire so far.
#[derive(Debug, Clone, Default)]
pub struct Observations {
    /// The first broken rule.
    pub breach: Option<Breach>,
    /// The other end has closed the byte stream.
    pub eof: bool,
    /// The last write found no room.
    pub write_blocked: bool,
}

/// A handle to look at the [`Observations`] of a [`Watched`] stream.
#[derive(Debug, Clone, Default)]
pub struct Observer {
    seen: Arc<Mutex<Observations>>,
}

impl Observer {
    /// What has been seen so far.
    pub fn observations(&self) -> Observations {
        self.seen().clone()
    }

    fn seen(&self) -> MutexGuard<'_, Observations> {
        // Plain data that is whole after every statement, so a poisoned lock is as good.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads yamux frame headers out of a stream of bytes.
#[derive(Debug, Default)]
pub struct FrameWatch {
    header: [u8; FRAME_HEADER],
    filled: usize,
    body: usize,
}

/// What a [`FrameWatch`] looks out for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoAway {
    /// yamux's error code.
    pub code: u32,
}

impl FrameWatch {
    /// Looks at the next bytes, in pieces of any size.
    ///
    /// Gives the last go-away among them.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<GoAway>, Breach> {
        let mut go_away = None;
        while !bytes.is_empty() {
            if self.body > 0 {
                let skipped = self.body.min(bytes.len());
                self.body -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (FRAME_HEADER - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == FRAME_HEADER {
                self.filled = 0;
                go_away = self.header_done()?.or(go_away);
            }
        }
        Ok(go_away)
    }

    fn is_between_frames(&self) -> bool {
        self.filled == 0 && self.body == 0
    }

    fn header_done(&mut self) -> Result<Option<GoAway>, Breach> {
        const VERSION: u8 = 0;
        const DATA: u8 = 0;
        const GO_AWAY: u8 = 3;
        let [version, kind, .., l0, l1, l2, l3] = self.header;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        if version != VERSION || kind > GO_AWAY {
            return Err(Breach::NotAFrame);
        }
        if kind == DATA {
            if length as usize > MAX_FRAME_BODY {
                return Err(Breach::FrameTooLong { length });
            }
            self.body = length as usize;
        }
        Ok((kind == GO_AWAY).then_some(GoAway { code: length }))
    }
}

/// Whether a frame is yamux's own measuring of the way, and not an answer to the other end's.
fn is_own_ping(frame: &[u8]) -> bool {
    const PING_SYN: [u8; 4] = [0, 2, 0, 1];
    frame.len() >= FRAME_HEADER && frame.starts_with(&PING_SYN)
}

/// A byte stream under yamux, watched.
#[derive(Debug)]
pub struct Watched<T> {
    io: T,
    inbound: FrameWatch,
    outbound: FrameWatch,
    observer: Observer,
}

impl<T> Watched<T> {
    /// Watches a stream whose next byte either way is the first of a yamux frame.
    pub fn new(io: T) -> (Self, Observer) {
        let observer = Observer::default();
        let watched = Self {
            io,
            inbound: FrameWatch::default(),
            outbound: FrameWatch::default(),
            observer: observer.clone(),
        };
        (watched, observer)
    }

    fn breach(&self, breach: Breach) -> io::Error {
        self.observer.seen().breach.get_or_insert(breach.clone());
        io::Error::new(io::ErrorKind::InvalidData, breach)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let read = ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        if read == 0 && !buf.is_empty() {
            this.observer.seen().eof = true;
        }
        match this.inbound.feed(&buf[..read]) {
            Ok(None) => Poll::Ready(Ok(read)),
            Ok(Some(GoAway { code })) => {
                // yamux reads it too and ends; only the reason is kept here.
                this.observer
                    .seen()
                    .breach
                    .get_or_insert(Breach::GoAway { code });
                Poll::Ready(Ok(read))
            }
            Err(breach) => Poll::Ready(Err(this.breach(breach))),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.outbound.is_between_frames() && is_own_ping(buf) {
            return Poll::Ready(Ok(FRAME_HEADER));
        }
        let polled = Pin::new(&mut this.io).poll_write(cx, buf);
        this.observer.seen().write_blocked = polled.is_pending();
        let written = ready!(polled)?;
        if let Ok(Some(GoAway { code: code @ 1.. })) = this.outbound.feed(&buf[..written]) {
            this.observer
                .seen()
                .breach
                .get_or_insert(Breach::Complaint { code });
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        this.observer.seen().write_blocked = polled.is_pending();
        polled
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_close(cx)
    }
}

#[cfg(test)]
mod test {
    use futures::executor::block_on;
    use futures::io::{AsyncWriteExt as _, Cursor};

    use super::{Breach, FRAME_HEADER, FrameWatch, GoAway, MAX_FRAME_BODY, Watched};

    fn frame(kind: u8, length: u32, body: &[u8]) -> Vec<u8> {
        let mut wire = vec![0, kind, 0, 0, 0, 0, 0, 1];
        wire.extend_from_slice(&length.to_be_bytes());
        wire.extend_from_slice(body);
        wire
    }

    #[test]
    fn bodies_are_skipped_and_headers_found_in_pieces_of_any_size() {
        let mut wire = frame(0, 30, &[3; 30]);
        wire.extend(frame(1, u32::MAX, &[]));
        wire.extend(frame(3, 2, &[]));
        for size in 1..=wire.len() {
            let mut watch = FrameWatch::default();
            let seen: Vec<_> = wire
                .chunks(size)
                .filter_map(|piece| watch.feed(piece).unwrap())
                .collect();
            assert_eq!(seen, [GoAway { code: 2 }], "in pieces of {size}");
        }
    }

    #[test]
    fn a_body_over_the_limit_is_a_breach() {
        let length = MAX_FRAME_BODY as u32 + 1;
        let breach = FrameWatch::default()
            .feed(&frame(0, length, &[]))
            .unwrap_err();
        assert_eq!(breach, Breach::FrameTooLong { length });
    }

    #[test]
    fn a_resync_is_a_breach_wherever_in_a_frame_it_begins() {
        let body = vec![0; MAX_FRAME_BODY];
        let whole = frame(0, MAX_FRAME_BODY as u32, &body);
        for seen in (0..=FRAME_HEADER).chain([FRAME_HEADER + 1, whole.len() - 1, whole.len()]) {
            let mut watch = FrameWatch::default();
            assert_eq!(watch.feed(&whole[..seen]), Ok(None));
            let padding = crate::hello::resync_padding();
            assert!(
                watch.feed(&padding).is_err(),
                "after {seen} bytes of a frame"
            );
        }
    }

    #[test]
    fn own_pings_stay_off_the_wire_and_answers_do_not() {
        let ping = [0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let pong = [0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0];
        let (mut watched, _) = Watched::new(Cursor::new(Vec::new()));
        // The third is the body of a data frame and only looks like a ping.
        for part in [&ping[..], &pong, &frame(0, 12, &[]), &ping, &ping, &pong] {
            block_on(watched.write_all(part)).unwrap();
        }
        let wire = watched.io.into_inner();
        assert_eq!(wire, [&pong[..], &frame(0, 12, &ping), &pong].concat());
    }

    #[test]
    fn the_lead_in_alone_is_a_breach_between_two_frames() {
        let lead_in = [0xff; crate::hello::LEAD_IN];
        assert_eq!(FrameWatch::default().feed(&lead_in), Err(Breach::NotAFrame));
    }
}
