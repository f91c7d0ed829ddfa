//! The entries of an archive, one after the other.

use std::io::Read;

use bhatti_ext4::tree::{Data, Device, MAJOR_MAX, MINOR_MAX, Metadata, Piece, Time};

use crate::layer::digest::Sha256Digest;
use crate::layer::limits::{FILE_MAX, Limits};
use crate::layer::tar::header::{Format, Header, HeaderError};
use crate::layer::tar::pax::{Pax, PaxError};
use crate::layer::tar::sparse::{self, Budget, SparseError};
use crate::layer::tar::stream::{BLOCK, Stream, StreamError};

/// Why an archive cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// Its bytes do not come.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A header is damaged.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// An extended header is damaged.
    #[error(transparent)]
    Pax(#[from] PaxError),
    /// A sparse file is damaged.
    #[error(transparent)]
    Sparse(#[from] SparseError),
    /// An extended header is too long.
    #[error("an extended header has more than {limit} bytes")]
    HeaderTooLong {
        /// How many it may have.
        limit: u64,
    },
    /// An extended header has nothing behind it.
    #[error("an extended header describes nothing")]
    Dangling,
    /// A kind of entry that no layer has.
    #[error("an entry is of the unknown kind {kind:?}")]
    Kind {
        /// Its letter.
        kind: char,
    },
    /// A file is larger than a file can be.
    #[error("a file has more than {limit} bytes")]
    FileTooLarge {
        /// How many it may have.
        limit: u64,
    },
}

/// What an entry makes. Names are as they are in the archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RawKind {
    Directory,
    File(Data),
    Symlink(Vec<u8>),
    HardLink(Vec<u8>),
    Character(Device),
    Block(Device),
    Fifo,
}

/// An entry of an archive.
#[derive(Debug)]
pub(crate) struct RawEntry {
    pub(crate) path: Vec<u8>,
    pub(crate) meta: Metadata,
    pub(crate) kind: RawKind,
}

/// Reads an archive.
pub(crate) struct Entries<'a, R> {
    stream: Stream<R>,
    limits: &'a Limits,
    pieces: Budget,
    /// Content of the last entry that has not been passed yet, without what fills its block.
    unread: u64,
}

/// What came before an entry.
#[derive(Default)]
struct Extended {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<'a, R: Read> Entries<'a, R> {
    pub(crate) fn new(reader: R, limits: &'a Limits) -> Self {
        Self {
            stream: Stream::new(reader, limits.bytes),
            limits,
            pieces: Budget {
                limit: limits.pieces,
                left: limits.pieces,
            },
            unread: 0,
        }
    }

    /// The next entry; nothing at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<RawEntry>, TarError> {
        let mut extended = Extended::default();
        let mut dangling = false;
        loop {
            self.stream.skip(self.unread)?;
            self.unread = 0;
            self.stream.align()?;
            let Some(block) = self.block()? else {
                return if dangling {
                    Err(TarError::Dangling)
                } else {
                    Ok(None)
                };
            };
            let header = Header::new(&block)?;
            match header.kind() {
                b'x' => extended.pax = Some(Pax::parse(&self.extended(&header)?, self.limits)?),
                b'L' => extended.name = Some(until_nul(self.extended(&header)?)),
                b'K' => extended.link = Some(until_nul(self.extended(&header)?)),
                // What holds for all entries is not applied by the tools that unpack layers.
                b'g' => {
                    self.extended(&header)?;
                    continue;
                }
                _ => return self.entry(&block, &header, extended).map(Some),
            }
            dangling = true;
        }
    }

    /// Reads what is behind the archive's end, and gives its digest and length.
    pub(crate) fn finish(self) -> Result<(Sha256Digest, u64), TarError> {
        Ok(self.stream.finish()?)
    }

    /// The next header; nothing at the end, which is two blocks of zeros or simply the end.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let Some(block) = self.stream.block()? else {
            return Ok(None);
        };
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        match self.stream.block()? {
            Some(second) if second != [0; BLOCK] => Err(HeaderError::Checksum.into()),
            _ => Ok(None),
        }
    }

    fn extended(&mut self, header: &Header<'_>) -> Result<Vec<u8>, TarError> {
        let size = header.size()?;
        if size > self.limits.header_bytes {
            return Err(TarError::HeaderTooLong {
                limit: self.limits.header_bytes,
            });
        }
        Ok(self.stream.bytes(size as usize)?)
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        header: &Header<'_>,
        extended: Extended,
    ) -> Result<RawEntry, TarError> {
        let pax = extended.pax.unwrap_or_default();
        let path = pax.path.clone().or(extended.name);
        let mut path = path.unwrap_or_else(|| header.name());
        let link = pax.link.clone().or(extended.link);
        let link = link.unwrap_or_else(|| header.link());
        let id = |pax: Option<u32>, header: i64, field| match pax {
            Some(id) => Ok(id),
            None => u32::try_from(header).map_err(|_| HeaderError::Number { field }),
        };
        let mtime = match pax.mtime {
            Some(time) => time,
            None => Time {
                seconds: header.mtime()?,
                nanos: 0,
            },
        };
        let meta = Metadata {
            // Some programs put the type of the file into it as well.
            mode: (header.mode()? & 0o7777) as u16,
            uid: id(pax.uid, header.uid()?, "uid")?,
            gid: id(pax.gid, header.gid()?, "gid")?,
            mtime,
            xattrs: pax.xattrs.clone(),
        };
        let kind = match header.kind() {
            b'0' | b'\0' | b'7' | b'S' => {
                let size = pax.size.map_or_else(|| header.size(), Ok)?;
                // Before there was a kind for directories.
                if path.ends_with(b"/") {
                    self.unread = size;
                    RawKind::Directory
                } else {
                    let (data, name) = self.data(block, header, pax, size)?;
                    path = name.unwrap_or(path);
                    RawKind::File(data)
                }
            }
            b'1' => RawKind::HardLink(link),
            b'2' => RawKind::Symlink(link),
            b'3' => RawKind::Character(device(header)?),
            b'4' => RawKind::Block(device(header)?),
            b'5' => RawKind::Directory,
            b'6' => RawKind::Fifo,
            kind => return Err(TarError::Kind { kind: kind.into() }),
        };
        Ok(RawEntry { path, meta, kind })
    }

    /// Where the content of a file is, and its real name if it is sparse.
    fn data(
        &mut self,
        block: &[u8; BLOCK],
        header: &Header<'_>,
        pax: Pax,
        size: u64,
    ) -> Result<(Data, Option<Vec<u8>>), TarError> {
        let start = self.stream.position();
        let records = &pax.sparse;
        let map = if header.kind() == b'S' && header.format() == Format::Gnu {
            let map = sparse::old_gnu(block, &mut self.stream, &mut self.pieces)?;
            // The blocks of the map do not count as content.
            self.unread = size;
            let from = self.stream.position();
            Some((map, header.real_size()?, from, size))
        } else {
            match (records.major, records.minor) {
                (Some(1), Some(0)) => {
                    let budget = &mut self.pieces;
                    let map = sparse::before_content(&mut self.stream, size, budget)?;
                    let from = self.stream.position();
                    let stored = size.checked_sub(from - start).ok_or(SparseError::Map)?;
                    self.unread = stored;
                    let real = records.real_size.ok_or(SparseError::Map)?;
                    Some((map, real, from, stored))
                }
                _ if !records.map.is_empty() || records.count.is_some() => {
                    self.unread = size;
                    let map = sparse::in_records(records, &mut self.pieces)?;
                    let real = records.real_size.ok_or(SparseError::Map)?;
                    Some((map, real, start, size))
                }
                _ => {
                    self.unread = size;
                    None
                }
            }
        };
        let data = match map {
            Some((map, real, from, stored)) => sparse::data(&map, real, from, stored)?,
            None => Data {
                size,
                pieces: (size > 0)
                    .then_some(Piece {
                        at: 0,
                        len: size,
                        source: 0,
                        from: start,
                    })
                    .into_iter()
                    .collect(),
            },
        };
        if data.size > FILE_MAX {
            return Err(TarError::FileTooLarge { limit: FILE_MAX });
        }
        Ok((data, pax.sparse.name))
    }
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    if let Some(end) = text.iter().position(|byte| *byte == 0) {
        text.truncate(end);
    }
    text
}

fn device(header: &Header<'_>) -> Result<Device, HeaderError> {
    let (major, minor) = header.device()?;
    let within = |number: i64, max, field| {
        let number = u32::try_from(number).ok();
        let number = number.filter(|number| *number <= max);
        number.ok_or(HeaderError::Number { field })
    };
    Ok(Device {
        major: within(major, MAJOR_MAX, "devmajor")?,
        minor: within(minor, MINOR_MAX, "devminor")?,
    })
}
