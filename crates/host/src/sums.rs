//! Digests of a large file by parts, so that what it costs to make them anew is what was changed.
//!
//! A table holds a digest for each [`CHUNK`] of its subject and lies beside it under the subject's
//! name with [`SUFFIX`]. A file that was cloned from another one takes over the digests of the
//! chunks it still shares with it (see [`crate::extents`]); the others are read.
//!
//! The format, numbers little-endian (`contracts/sums-v1` is one):
//! ```text
//! 16 bytes   "bhatti-sums" and zeros
//!  4 bytes   version, 1
//!  4 bytes   bytes in a chunk, 16384
//!  8 bytes   length of the subject
//!  8 bytes   chunks
//!  8 bytes   chunks that are not all zeros
//!            a bit for each chunk, the lowest first: set if it is not all zeros
//!            16 bytes for each of these: the beginning of the chunk's BLAKE3 digest
//! 32 bytes   BLAKE3 digest of all before
//! ```

mod part;

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::{ControlFlow, Range};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::extents::{self, Alike, Physical};
use crate::files::{self, Extent};
use part::{Part, cut, middle};

/// Bytes in a chunk; the last one of a file may be shorter. Small, since a guest dirties single
/// pages here and there, but large enough that BLAKE3 is at its fastest, and a table is a thousandth
/// of its subject.
pub const CHUNK: u64 = 16 << 10;
/// What the name of a table has behind its subject's.
pub const SUFFIX: &str = ".sums";

const MAGIC: &[u8; 16] = b"bhatti-sums\0\0\0\0\0";
const VERSION: u32 = 1;
const HEADER: usize = 48;
const OWN: usize = 32;
/// Longest subject, in bytes: 4 TiB, whose table may take 4 GiB.
const MAX_LEN: u64 = 4 << 40;
/// Chunks read together.
const BATCH: usize = 128;

/// Half of a BLAKE3 digest: enough to notice what happens to bytes by itself, and to make finding
/// others with the same digest hopeless.
type Sum = [u8; 16];
/// Stands for a chunk of zeros, which no digest is.
const ZEROS: Sum = [0; 16];

/// The digests of a file's chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sums {
    len: u64,
    chunks: Vec<Sum>,
}

/// What making a table cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Chunks that were read.
    pub read: u64,
    /// Chunks whose digests were the base's.
    pub inherited: u64,
}

/// A file does not fit its table.
#[derive(Debug, thiserror::Error)]
pub enum SumsError {
    /// It could not be read.
    #[error("failed to read the file")]
    Read(#[from] io::Error),
    /// It has another length.
    #[error("the file has {found} bytes, not {expected}")]
    Length {
        /// How long it is.
        found: u64,
        /// How long it was.
        expected: u64,
    },
    /// A part of it is not what it was.
    #[error("chunk {chunk} of the file is not what it was")]
    FirstBad {
        /// The first such part, by number.
        chunk: u64,
    },
}

/// The name of the table of a file.
pub fn beside(subject: &Path) -> PathBuf {
    let mut name = subject.as_os_str().to_owned();
    name.push(SUFFIX);
    name.into()
}

/// Makes the table of a file that nobody writes to. Chunks that it shares with the base, which
/// does not change meanwhile either, take over the base's digests; a base that does not help is no
/// error. Blocking.
pub fn of(file: &File, base: Option<(&File, &Sums)>) -> io::Result<Sums> {
    of_counted(file, base).map(|(sums, _)| sums)
}

/// [`of`], and what it cost.
pub fn of_counted(file: &File, base: Option<(&File, &Sums)>) -> io::Result<(Sums, Work)> {
    let metadata = file.metadata()?;
    let mut sums = Sums {
        len: metadata.len(),
        chunks: vec![ZEROS; usize::try_from(metadata.len().div_ceil(CHUNK)).map_err(too_long)?],
    };
    let mut work = Work::default();
    let base = base.and_then(|(file, table)| {
        let base = file.metadata().ok()?;
        (table.len == base.len() && base.dev() == metadata.dev()).then_some((file, table, base))
    });
    let Some((base_file, table, base)) = base else {
        let data = files::data_extents(file)?;
        sums.fill(
            &data,
            &mut work,
            |_| None,
            |bytes, at| file.read_exact_at(bytes, at),
        )?;
        return Ok((sums, work));
    };
    if base.ino() == metadata.ino() {
        // Another name of the same file.
        work.inherited = table.chunks.iter().filter(|sum| **sum != ZEROS).count() as u64;
        return Ok((table.clone(), work));
    }
    let (Ok(ours), Ok(theirs)) = (extents::map(file), extents::map(base_file)) else {
        return of_counted(file, None);
    };
    let (len, data) = (sums.len, data_of(&ours, sums.len));
    let known = |chunk| {
        let stretch = span(chunk, len);
        let whole = stretch.end == span(chunk, table.len).end;
        let inherits = whole && extents::same(&ours, &theirs, stretch);
        inherits.then(|| table.chunks.get(chunk).copied()).flatten()
    };
    // What is shared is read from the base: it is often in memory there, and a copy's never is.
    let read = |bytes: &mut [u8], at: u64| {
        let mut result = Ok(());
        let stretch = at..at + bytes.len() as u64;
        extents::compare(&ours, &theirs, stretch, |part, alike| {
            let bytes = &mut bytes[(part.start - at) as usize..(part.end - at) as usize];
            result = match alike {
                Alike::Holes => {
                    bytes.fill(0);
                    Ok(())
                }
                Alike::Blocks if part.end <= table.len => {
                    base_file.read_exact_at(bytes, part.start)
                }
                Alike::Blocks | Alike::No => file.read_exact_at(bytes, part.start),
            };
            match result {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        result
    };
    sums.fill(&data, &mut work, known, read)?;
    Ok((sums, work))
}

/// Checks a file against its table. Blocking.
pub fn verify(file: &File, sums: &Sums) -> Result<(), SumsError> {
    let found = file.metadata()?.len();
    if found != sums.len {
        return Err(SumsError::Length {
            found,
            expected: sums.len,
        });
    }
    let mut now = Sums {
        len: found,
        chunks: vec![ZEROS; sums.chunks.len()],
    };
    let data = files::data_extents(file)?;
    let read = |bytes: &mut [u8], at| file.read_exact_at(bytes, at);
    now.fill(&data, &mut Work::default(), |_| None, read)?;
    match now
        .chunks
        .iter()
        .zip(&sums.chunks)
        .position(|(a, b)| a != b)
    {
        Some(chunk) => Err(SumsError::FirstBad {
            chunk: chunk as u64,
        }),
        None => Ok(()),
    }
}

impl Sums {
    /// Length of the subject, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the subject is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the digests of the chunks that hold data: what is `known` of them, or that of what
    /// `read` reads. Many are shared out between two threads: a checkpoint is durable only when
    /// they are done, and most of what is done beside it waits for the disk.
    fn fill(
        &mut self,
        data: &[Extent],
        work: &mut Work,
        known: impl Fn(usize) -> Option<Sum> + Sync,
        read: impl Fn(&mut [u8], u64) -> io::Result<()> + Sync,
    ) -> io::Result<()> {
        let mut ranges = Vec::new();
        let mut next = 0;
        for extent in data {
            let first = ((extent.start / CHUNK) as usize).max(next);
            let last = (extent.end.min(self.len).div_ceil(CHUNK) as usize).max(first);
            ranges.push(first..last);
            next = last;
        }
        let len = self.len;
        let Some(middle) = middle(&ranges) else {
            let mut part = Part::new(len, 0, &mut self.chunks);
            part.fill(&ranges, &known, &read)?;
            work.add(part.work);
            return Ok(());
        };
        let (ranges, rest) = cut(&ranges, middle);
        let (low, high) = self.chunks.split_at_mut(middle);
        std::thread::scope(|threads| {
            let other = threads.spawn(|| {
                let mut part = Part::new(len, middle, high);
                part.fill(&rest, &known, &read).map(|()| part.work)
            });
            let mut part = Part::new(len, 0, low);
            let filled = part.fill(&ranges, &known, &read);
            let other = other.join();
            filled?;
            work.add(part.work);
            work.add(other.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            Ok(())
        })
    }

    /// The bytes of the table.
    pub fn to_bytes(&self) -> Vec<u8> {
        let present = self.chunks.iter().filter(|sum| **sum != ZEROS);
        let mut bits = vec![0u8; self.chunks.len().div_ceil(8)];
        for (index, sum) in self.chunks.iter().enumerate() {
            bits[index / 8] |= u8::from(*sum != ZEROS) << (index % 8);
        }
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(CHUNK as u32).to_le_bytes());
        for number in [
            self.len,
            self.chunks.len() as u64,
            present.clone().count() as u64,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&bits);
        for sum in present {
            bytes.extend_from_slice(sum);
        }
        let own = blake3::hash(&bytes);
        bytes.extend_from_slice(own.as_bytes());
        bytes
    }

    /// Reads a table; anything that is not a whole and unchanged one is an error of the kind
    /// `InvalidData`.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Self> {
        let parsed = Self::parse(bytes);
        parsed
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a damaged table of digests"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, own) = bytes.split_at_checked(bytes.len().checked_sub(OWN)?)?;
        if blake3::hash(body).as_bytes() != own {
            return None;
        }
        let (header, body) = body.split_at_checked(HEADER)?;
        let (magic, header) = header.split_at_checked(MAGIC.len())?;
        let (version, header) = header.split_first_chunk()?;
        let (chunk, header) = header.split_first_chunk()?;
        let (len, header) = header.split_first_chunk()?;
        let (count, header) = header.split_first_chunk()?;
        let (present, _) = header.split_first_chunk()?;
        let len = u64::from_le_bytes(*len);
        let count = u64::from_le_bytes(*count);
        let present = u64::from_le_bytes(*present);
        let known = magic == MAGIC
            && u32::from_le_bytes(*version) == VERSION
            && u64::from(u32::from_le_bytes(*chunk)) == CHUNK
            && len <= MAX_LEN
            && count == len.div_ceil(CHUNK)
            && present <= count;
        if !known {
            return None;
        }
        let (bits, digests) = body.split_at_checked(count.div_ceil(8) as usize)?;
        let (digests, rest) = digests.as_chunks::<16>();
        if !rest.is_empty() || digests.len() as u64 != present {
            return None;
        }
        // What is taken up is at most 128 times what was read.
        let mut chunks = vec![ZEROS; count as usize];
        let mut digests = digests.iter();
        for (index, slot) in chunks.iter_mut().enumerate() {
            if bits[index / 8] >> (index % 8) & 1 == 1 {
                *slot = *digests.next().filter(|sum| **sum != ZEROS)?;
            }
        }
        let spare = bits.last().map_or(0, |last| match count % 8 {
            0 => 0,
            used => last >> used,
        });
        (spare == 0 && digests.next().is_none()).then_some(Self { len, chunks })
    }

    /// Writes the table to a file that is made for it and gives the digest of its bytes, in
    /// hexadecimal. An existing file is replaced, not changed: it may have other names. The file
    /// is durable when this returns, its name is not.
    pub fn write(&self, path: &Path) -> io::Result<String> {
        let bytes = self.to_bytes();
        files::remove_file(path)?;
        let mut file = fs_err::OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(path)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        Ok(digest(&bytes))
    }

    /// Reads the table of a subject of `len` bytes. A damaged one is an error of the kind
    /// `InvalidData`.
    pub fn read_from(path: &Path, len: u64) -> io::Result<Self> {
        let sums = Self::from_bytes(&read_bytes(path, len)?)?;
        if sums.len != len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a table of digests of another file",
            ));
        }
        Ok(sums)
    }
}

impl Work {
    fn add(&mut self, other: Self) {
        self.read += other.read;
        self.inherited += other.inherited;
    }
}

/// The bytes of the table of a subject of `len` bytes, unchecked but not more than there can be.
pub fn read_bytes(path: &Path, len: u64) -> io::Result<Vec<u8>> {
    if len > MAX_LEN {
        return Err(too_long(len));
    }
    let count = len.div_ceil(CHUNK);
    let limit = (HEADER + OWN) as u64 + count.div_ceil(8) + count * size_of::<Sum>() as u64;
    files::read_bounded(path, limit)
}

/// The digest of a table's bytes, in hexadecimal, as [`Sums::write`] gives it.
pub fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// The stretches of a file that extents cover.
fn data_of(extents: &[Physical], len: u64) -> Vec<Extent> {
    extents
        .iter()
        .map(|extent| Extent {
            start: extent.logical.min(len),
            end: extent.end().min(len),
        })
        .collect()
}

/// Where in a file of `len` bytes a chunk begins and ends.
fn span(chunk: usize, len: u64) -> Range<u64> {
    let start = (chunk as u64 * CHUNK).min(len);
    start..(start + CHUNK).min(len)
}

fn sum(bytes: &[u8]) -> Sum {
    if files::is_zero(bytes) {
        return ZEROS;
    }
    let mut sum = ZEROS;
    sum.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    sum
}

fn too_long<T>(_: T) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        "the file is too long for a table of digests",
    )
}
