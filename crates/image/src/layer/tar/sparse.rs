//! Sparse files: GNU's old format, and the three versions in PAX records.

use std::io::Read;

use bhatti_ext4::tree::{Data, Piece};

use crate::layer::tar::header::number;
use crate::layer::tar::pax::{SparseRecords, decimal};
use crate::layer::tar::stream::{BLOCK, Stream, StreamError};

/// What is wrong with the map of a sparse file.
#[derive(Debug, thiserror::Error)]
pub enum SparseError {
    /// It is no map, or not one of this file.
    #[error("the map of a sparse file is not valid")]
    Map,
    /// It has too many pieces.
    #[error("sparse files have more than {limit} pieces")]
    Pieces {
        /// How many all of the archive may have.
        limit: u32,
    },
    /// The archive ended in it.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Where the bytes of a file lie, as offset and length in the file, one after the other in the
/// archive.
pub(super) type Map = Vec<(u64, u64)>;

/// What is left of the pieces that an archive may have.
pub(super) struct Budget {
    pub(super) limit: u32,
    pub(super) left: u32,
}

impl Budget {
    fn take(&mut self) -> Result<(), SparseError> {
        let left = self.left.checked_sub(1);
        self.left = left.ok_or(SparseError::Pieces { limit: self.limit })?;
        Ok(())
    }

    fn add(&mut self, map: &mut Map, at: u64, len: u64) -> Result<(), SparseError> {
        self.take()?;
        map.push((at, len));
        Ok(())
    }
}

/// GNU's old format: the map is in the header and in blocks behind it.
pub(super) fn old_gnu<R: Read>(
    header: &[u8; BLOCK],
    stream: &mut Stream<R>,
    budget: &mut Budget,
) -> Result<Map, SparseError> {
    let mut map = Map::new();
    let (mut fields, mut more) = (header[386..482].to_vec(), header[482]);
    loop {
        for field in fields.chunks_exact(24) {
            let (at, len) = field.split_at(12);
            // An empty field ends the list.
            if at[0] == 0 || len[0] == 0 {
                break;
            }
            let value = |field| number(field).and_then(|value| u64::try_from(value).ok());
            let (at, len) = value(at).zip(value(len)).ok_or(SparseError::Map)?;
            budget.add(&mut map, at, len)?;
        }
        if more == 0 {
            return Ok(map);
        }
        let block = stream.block()?.ok_or(StreamError::CutOff)?;
        budget.take()?;
        (fields, more) = (block[..504].to_vec(), block[504]);
    }
}

/// Versions 0.0 and 0.1: the map is in the records.
pub(super) fn in_records(records: &SparseRecords, budget: &mut Budget) -> Result<Map, SparseError> {
    let (pairs, rest) = records.map.as_chunks::<2>();
    if !rest.is_empty()
        || records
            .count
            .is_some_and(|count| count != pairs.len() as u64)
    {
        return Err(SparseError::Map);
    }
    let mut map = Map::new();
    for [at, len] in pairs {
        budget.add(&mut map, *at, *len)?;
    }
    Ok(map)
}

/// Version 1.0: the map comes before the content, in lines, and fills whole blocks.
pub(super) fn before_content<R: Read>(
    stream: &mut Stream<R>,
    size: u64,
    budget: &mut Budget,
) -> Result<Map, SparseError> {
    let mut lines = Lines {
        left: size,
        block: Vec::new(),
        at: 0,
    };
    let count = lines.number(stream)?;
    if count > u64::from(budget.left) {
        return Err(SparseError::Pieces {
            limit: budget.limit,
        });
    }
    let mut map = Map::new();
    for _ in 0..count {
        let at = lines.number(stream)?;
        let len = lines.number(stream)?;
        budget.add(&mut map, at, len)?;
    }
    Ok(map)
}

/// Lines of digits, read by blocks.
struct Lines {
    /// What the entry has left.
    left: u64,
    block: Vec<u8>,
    at: usize,
}

impl Lines {
    fn number<R: Read>(&mut self, stream: &mut Stream<R>) -> Result<u64, SparseError> {
        let mut digits = Vec::new();
        loop {
            if self.at == self.block.len() {
                self.left = self
                    .left
                    .checked_sub(BLOCK as u64)
                    .ok_or(SparseError::Map)?;
                self.block = stream.bytes(BLOCK)?;
                self.at = 0;
            }
            let byte = self.block[self.at];
            self.at += 1;
            match byte {
                b'\n' => return decimal(&digits).ok_or(SparseError::Map),
                // More than a number of 64 bits has.
                _ if digits.len() == 20 => return Err(SparseError::Map),
                _ => digits.push(byte),
            }
        }
    }
}

/// The content of a sparse file: `stored` bytes that begin at `from` in the archive.
pub(super) fn data(map: &Map, size: u64, from: u64, stored: u64) -> Result<Data, SparseError> {
    let mut pieces: Vec<Piece> = Vec::with_capacity(map.len());
    let (mut from, mut end, mut left) = (from, 0_u64, stored);
    for (at, len) in map {
        let until = at.checked_add(*len).ok_or(SparseError::Map)?;
        if *at < end || until > size {
            return Err(SparseError::Map);
        }
        left = left.checked_sub(*len).ok_or(SparseError::Map)?;
        match pieces.last_mut() {
            _ if *len == 0 => {}
            Some(last) if end == *at => last.len += len,
            _ => pieces.push(Piece {
                at: *at,
                len: *len,
                source: 0,
                from,
            }),
        }
        from += len;
        end = until;
    }
    if left != 0 {
        return Err(SparseError::Map);
    }
    Ok(Data { size, pieces })
}
