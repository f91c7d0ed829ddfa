//! Messages on a stream: a varint length, then the message.
//!
//! The length is judged before anything is allocated for it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use prost::Message;

/// Longest payload of one message that carries data, in bytes.
pub const MAX_CHUNK: usize = 32 * 1024;
/// Longest message other than a request, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// Longest request, in bytes. Linux gives a program at most 2 MiB for its arguments and
/// environment (`_STK_LIM / 4`); half of that is more than anybody has asked for.
pub const MAX_REQUEST: usize = 1024 * 1024;

/// Bytes of a varint that hold 32 bits.
const MAX_PREFIX: usize = 5;
/// How much is read at once where the length of what comes is not known yet.
const READ_AHEAD: usize = 4096;

/// A message that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The stream failed.
    #[error("failed to read from the stream")]
    Io {
        /// How.
        #[source]
        source: std::io::Error,
    },
    /// The stream ended inside a message.
    #[error("the stream ended inside a message")]
    Truncated,
    /// The message is longer than it may be.
    #[error("a message of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length, as far as known.
        length: u64,
        /// The limit.
        limit: usize,
    },
    /// The bytes are not a message.
    #[error("a message does not decode")]
    Malformed {
        /// Why.
        #[source]
        source: prost::DecodeError,
    },
}

/// A message that is too long to be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes is over the limit of {limit}")]
pub struct TooLong {
    /// Its length.
    pub length: usize,
    /// The limit.
    pub limit: usize,
}

/// A message with its length before it.
pub fn encode<M: Message>(message: &M, limit: usize) -> Result<Bytes, TooLong> {
    let length = message.encoded_len();
    if length > limit {
        return Err(TooLong { length, limit });
    }
    Ok(message.encode_length_delimited_to_vec().into())
}

/// Takes one whole message off the front of `buffer`; `None` if it is not all there yet.
pub fn decode<M: Message + Default>(
    buffer: &mut BytesMut,
    limit: usize,
) -> Result<Option<M>, ReadError> {
    let Some(prefix) = read_prefix(buffer, limit)? else {
        return Ok(None);
    };
    if buffer.len() < prefix.whole() {
        return Ok(None);
    }
    buffer.advance(prefix.bytes);
    let body = buffer.split_to(prefix.length).freeze();
    M::decode(body)
        .map(Some)
        .map_err(|source| ReadError::Malformed { source })
}

struct Prefix {
    /// Length of the prefix itself.
    bytes: usize,
    /// Length of the message.
    length: usize,
}

impl Prefix {
    const fn whole(&self) -> usize {
        self.bytes + self.length
    }
}

fn read_prefix(buffer: &[u8], limit: usize) -> Result<Option<Prefix>, ReadError> {
    let mut length = 0u64;
    for (index, byte) in buffer.iter().take(MAX_PREFIX).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if length > limit as u64 {
            return Err(ReadError::TooLong { length, limit });
        }
        if byte & 0x80 == 0 {
            return Ok(Some(Prefix {
                bytes: index + 1,
                length: length as usize,
            }));
        }
    }
    if buffer.len() >= MAX_PREFIX {
        return Err(ReadError::TooLong { length, limit });
    }
    Ok(None)
}

/// Reads messages from a stream.
#[derive(Debug)]
pub struct MessageReader<R> {
    io: R,
    buffer: BytesMut,
    limit: usize,
}

impl<R: AsyncRead + Unpin> MessageReader<R> {
    /// Reads messages of at most `limit` bytes.
    pub fn new(io: R, limit: usize) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            limit,
        }
    }

    /// Changes the longest message that is taken from here on.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// The next message; `None` at the end of the stream.
    ///
    /// Cancel-safe: a message read in part is gone on with by the next call.
    pub async fn next<M: Message + Default>(&mut self) -> Result<Option<M>, ReadError> {
        loop {
            if let Some(message) = decode(&mut self.buffer, self.limit)? {
                return Ok(Some(message));
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(ReadError::Truncated)
                };
            }
        }
    }

    /// The stream, and what was read from it after the last message.
    pub fn into_parts(self) -> (R, BytesMut) {
        (self.io, self.buffer)
    }

    async fn fill(&mut self) -> Result<usize, ReadError> {
        let wanted = match read_prefix(&self.buffer, self.limit)? {
            Some(prefix) => prefix.whole().saturating_sub(self.buffer.len()),
            None => 0,
        };
        let Self { io, buffer, .. } = self;
        poll_fn(|cx| {
            // Grown and cut back within one poll, so that a dropped future leaves no zeros.
            let filled = buffer.len();
            buffer.resize(filled + wanted.max(READ_AHEAD), 0);
            let polled = Pin::new(&mut *io).poll_read(cx, &mut buffer[filled..]);
            let read = match &polled {
                Poll::Ready(Ok(read)) => *read,
                Poll::Ready(Err(_)) | Poll::Pending => 0,
            };
            buffer.truncate(filled + read);
            Poll::Ready(ready!(polled))
        })
        .await
        .map_err(|source| ReadError::Io { source })
    }
}

/// Writes one message. Not cancel-safe: a dropped future leaves the stream unusable.
pub async fn write<W, M>(io: &mut W, message: &M, limit: usize) -> std::io::Result<()>
where
    W: AsyncWrite + Unpin,
    M: Message,
{
    let wire = encode(message, limit).map_err(std::io::Error::other)?;
    io.write_all(&wire).await?;
    io.flush().await
}

#[cfg(test)]
mod test {
    use bytes::BytesMut;
    use futures::executor::block_on;
    use futures::io::Cursor;

    use super::{MAX_MESSAGE, MessageReader, ReadError, TooLong, decode, encode};
    use crate::message::{Control, control};

    fn signal(number: i32) -> Control {
        Control {
            op: Some(control::Op::Signal(number)),
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in_byte_by_byte() {
        let mut wire = encode(&signal(15), MAX_MESSAGE).unwrap().to_vec();
        wire.extend_from_slice(&encode(&signal(9), MAX_MESSAGE).unwrap());
        let mut buffer = BytesMut::new();
        let mut out = Vec::new();
        for byte in wire {
            buffer.extend_from_slice(&[byte]);
            out.extend(decode::<Control>(&mut buffer, MAX_MESSAGE).unwrap());
        }
        assert_eq!(out, [signal(15), signal(9)]);
    }

    #[test]
    fn a_giant_length_is_refused_before_its_bytes_come() {
        for prefix in [
            &[0xff, 0xff, 0xff, 0xff, 0x0f][..],
            &[0xff; 9],
            &[0x80, 0x80, 0x80, 0x01],
        ] {
            let mut buffer = BytesMut::from(prefix);
            let error = decode::<Control>(&mut buffer, MAX_MESSAGE).unwrap_err();
            assert!(matches!(error, ReadError::TooLong { .. }), "{error}");
        }
    }

    #[test]
    fn an_end_inside_a_message_is_told_from_an_end_between_two() {
        let wire = encode(&signal(15), MAX_MESSAGE).unwrap();
        let mut reader = MessageReader::new(Cursor::new(wire.clone()), MAX_MESSAGE);
        assert_eq!(block_on(reader.next()).unwrap(), Some(signal(15)));
        assert_eq!(block_on(reader.next::<Control>()).unwrap(), None);
        let mut reader = MessageReader::new(Cursor::new(wire.slice(..1)), MAX_MESSAGE);
        assert!(matches!(
            block_on(reader.next::<Control>()),
            Err(ReadError::Truncated)
        ));
    }

    #[test]
    fn a_message_over_the_limit_is_not_sent() {
        let error = encode(&signal(i32::MAX), 2).unwrap_err();
        assert_eq!(
            error,
            TooLong {
                length: 6,
                limit: 2
            }
        );
    }
}
