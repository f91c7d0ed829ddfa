//! The bytes of an archive, counted and digested while they go by.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::layer::digest::Sha256Digest;

/// Bytes that are read at once: large enough for digesting to run at its full speed.
const BUFFER: usize = 256 << 10;
/// The unit that archives consist of.
pub(super) const BLOCK: usize = 512;

/// A stream that knows how far it has come.
pub(super) struct Stream<R> {
    inner: R,
    buffer: Vec<u8>,
    /// What of the buffer has not been given out yet.
    start: usize,
    end: usize,
    /// Bytes that have been given out.
    position: u64,
    limit: u64,
    sum: Sha256,
}

/// Why no more is read.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The blob cannot be read or unpacked.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
    /// It ends in the middle of something.
    #[error("the archive is cut off")]
    CutOff,
    /// It is too large.
    #[error("the archive has more than {limit} bytes")]
    TooLarge {
        /// How many it may have.
        limit: u64,
    },
}

impl<R: Read> Stream<R> {
    pub(super) fn new(inner: R, limit: u64) -> Self {
        Self {
            inner,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            position: 0,
            limit,
            sum: Sha256::new(),
        }
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Some of the bytes that come next; none at the end.
    fn fill(&mut self) -> Result<&[u8], StreamError> {
        if self.start == self.end {
            self.start = 0;
            self.end = loop {
                match self.inner.read(&mut self.buffer) {
                    Ok(read) => break read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        self.end = 0;
                        return Err(StreamError::CutOff);
                    }
                    Err(error) => {
                        self.end = 0;
                        return Err(StreamError::Read(error));
                    }
                }
            };
            self.sum.update(&self.buffer[..self.end]);
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn advance(&mut self, count: usize) -> Result<(), StreamError> {
        self.start += count;
        self.position += count as u64;
        if self.position > self.limit {
            return Err(StreamError::TooLarge { limit: self.limit });
        }
        Ok(())
    }

    /// The next block; nothing if the archive ends before it.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>, StreamError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            let next = self.fill()?;
            if next.is_empty() {
                return if filled == 0 {
                    Ok(None)
                } else {
                    Err(StreamError::CutOff)
                };
            }
            let count = next.len().min(BLOCK - filled);
            block[filled..filled + count].copy_from_slice(&next[..count]);
            filled += count;
            self.advance(count)?;
        }
        Ok(Some(block))
    }

    /// The next `len` bytes, which the caller has bounded.
    pub(super) fn bytes(&mut self, len: usize) -> Result<Vec<u8>, StreamError> {
        let mut bytes = Vec::with_capacity(len.min(BUFFER));
        while bytes.len() < len {
            let next = self.fill()?;
            if next.is_empty() {
                return Err(StreamError::CutOff);
            }
            let count = next.len().min(len - bytes.len());
            bytes.extend_from_slice(&next[..count]);
            self.advance(count)?;
        }
        Ok(bytes)
    }

    /// Goes on by `len` bytes.
    pub(super) fn skip(&mut self, len: u64) -> Result<(), StreamError> {
        let mut left = len;
        while left > 0 {
            let next = self.fill()?.len();
            if next == 0 {
                return Err(StreamError::CutOff);
            }
            let count = (next as u64).min(left);
            self.advance(count as usize)?;
            left -= count;
        }
        Ok(())
    }

    /// Goes on to the end of the block that is being read.
    pub(super) fn align(&mut self) -> Result<(), StreamError> {
        self.skip(self.position.wrapping_neg() % BLOCK as u64)
    }

    /// Reads what is left, and gives the digest and the length of all.
    pub(super) fn finish(mut self) -> Result<(Sha256Digest, u64), StreamError> {
        loop {
            let count = self.fill()?.len();
            if count == 0 {
                let digest = Sha256Digest::from_bytes(self.sum.finalize().into());
                return Ok((digest, self.position));
            }
            self.advance(count)?;
        }
    }
}
