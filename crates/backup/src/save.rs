//! Making a backup.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bhatti_host::extents::{self, Physical};
use bhatti_host::files;
use bhatti_types::id::BackupId;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use crate::error::BackupError;
use crate::format::{CHUNK, Digest, FORMAT, MAX_DISK, Map, Place, Summary, pack};
use crate::target::Target;

/// Chunks that are read and sent at once.
const AT_ONCE: usize = 4;

/// What the last backup was made of: a copy of the disk as it was, and its map.
#[derive(Debug)]
pub struct Last {
    /// The copy.
    pub file: File,
    /// The map.
    pub map: Map,
}

/// A backup that was made.
#[derive(Debug)]
pub struct Saved {
    /// What is told of it.
    pub summary: Summary,
    /// Which chunk is where.
    pub map: Map,
    /// Chunks that were not read, for the disk shares them with what the last backup was made of.
    pub unread: u64,
}

/// What chunks are made from.
struct Source {
    file: File,
    len: u64,
    extents: Option<Vec<Physical>>,
    /// The last backup, with where its copy's blocks are.
    last: Option<(Last, Vec<Physical>)>,
}

impl Source {
    fn span(&self, number: u32) -> Range<u64> {
        let start = u64::from(number) * CHUNK;
        start..(start + CHUNK).min(self.len)
    }

    /// The digest of a chunk that the disk still shares with what the last backup was made of:
    /// `Some(None)` if it is of zeros.
    #[expect(
        clippy::option_option,
        reason = "not shared, and shared but of zeros, are two things"
    )]
    fn inherited(&self, number: u32) -> Option<Option<Digest>> {
        let ((last, theirs), ours) = (self.last.as_ref()?, self.extents.as_ref()?);
        let is_shared = extents::same(ours, theirs, self.span(number));
        is_shared.then(|| last.map.chunks.get(&number).copied())
    }

    fn read(&self, number: u32) -> Result<Vec<u8>, BackupError> {
        let span = self.span(number);
        let mut bytes = vec![0; (span.end - span.start) as usize];
        let read = self.file.read_exact_at(&mut bytes, span.start);
        read.map_err(BackupError::io("read the disk"))?;
        Ok(bytes)
    }
}

/// The chunks that are stored, or being sent by this backup: two that are alike are sent once.
struct Known(Mutex<HashSet<String>>);

impl Known {
    fn new(names: HashSet<String>) -> Self {
        Self(Mutex::new(names))
    }

    fn has(&self, name: &str) -> bool {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.contains(name)
    }

    /// Whether whoever asks is to send it.
    fn is_new(&self, name: String) -> bool {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(name)
    }
}

/// A chunk as it is stored.
enum Chunk {
    Zeros,
    /// It is there already, or is not there and has these bytes.
    Data(Digest, Option<Bytes>),
}

/// Backs up a disk that nobody writes to. What breaks it off leaves no backup: what was sent is
/// used by the next one, or deleted by [`crate::keep`].
pub async fn save(
    target: &dyn Target,
    place: &Place,
    disk: &Path,
    last: Option<Last>,
) -> Result<Saved, BackupError> {
    let path = disk.to_owned();
    let opened = tokio::task::spawn_blocking(move || open(&path, last)).await;
    let (source, numbers) = opened
        .map_err(std::io::Error::other)
        .and_then(|opened| opened)
        .map_err(BackupError::io("open the disk"))?;
    let source = Arc::new(source);
    let known = target.list(&place.chunks()).await?;
    let known: HashSet<String> = known.into_iter().collect();
    let known = Arc::new(Known::new(known));
    let (sent, unread) = (AtomicU64::new(0), AtomicU64::new(0));

    let chunks = stream::iter(numbers).map(|number| {
        let (source, known) = (source.clone(), known.clone());
        let (sent, unread, place) = (&sent, &unread, place);
        async move {
            let stored = |digest: &Digest| known.has(&place.chunk(digest));
            match source.inherited(number) {
                Some(None) => {
                    unread.fetch_add(1, Ordering::Relaxed);
                    return Ok((number, None));
                }
                Some(Some(digest)) if stored(&digest) => {
                    unread.fetch_add(1, Ordering::Relaxed);
                    return Ok((number, Some(digest)));
                }
                // Deleted at the storage meanwhile.
                Some(Some(_)) | None => {}
            }
            let (names, known) = (place.clone(), known.clone());
            let made = tokio::task::spawn_blocking(move || make(&source, &names, &known, number));
            let made = made
                .await
                .map_err(std::io::Error::other)
                .map_err(BackupError::io("read the disk"))?;
            match made? {
                Chunk::Zeros => Ok((number, None)),
                Chunk::Data(digest, bytes) => {
                    if let Some(bytes) = bytes {
                        sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        target.put(&place.chunk(&digest), bytes).await?;
                    }
                    Ok::<_, BackupError>((number, Some(digest)))
                }
            }
        }
    });
    let chunks: Vec<(u32, Option<Digest>)> = chunks.buffer_unordered(AT_ONCE).try_collect().await?;
    let chunks = chunks
        .into_iter()
        .filter_map(|(number, digest)| Some((number, digest?)));
    let map = Map {
        chunks: chunks.collect(),
    };
    let bytes = map.to_bytes();
    let summary = Summary {
        format: FORMAT,
        id: BackupId::random(),
        created_at: Timestamp::now(),
        disk_bytes: source.len,
        data_bytes: map.chunks.len() as u64 * CHUNK,
        sent_bytes: sent.into_inner(),
        map_digest: blake3::hash(&bytes).to_hex().to_string(),
    };
    target.put(&place.map(&summary.id), pack(&bytes)?).await?;
    let text = serde_json::to_vec(&summary)
        .map_err(std::io::Error::other)
        .map_err(BackupError::io("write the summary"))?;
    // It is there from here on.
    target.put(&place.summary(&summary.id), text.into()).await?;
    Ok(Saved {
        summary,
        map,
        unread: unread.into_inner(),
    })
}

/// Opens a disk, and finds the chunks of it that may hold something.
fn open(path: &Path, last: Option<Last>) -> std::io::Result<(Source, Vec<u32>)> {
    let (file, _) = fs_err::File::open(path)?.into_parts();
    let len = file.metadata()?.len();
    if len > MAX_DISK {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            "the disk is too large",
        ));
    }
    let mut numbers = Vec::new();
    for extent in files::data_extents(&file)? {
        let (first, end) = (extent.start / CHUNK, extent.end.min(len).div_ceil(CHUNK));
        let after = numbers.last().map_or(0, |last: &u32| u64::from(*last) + 1);
        numbers.extend((first.max(after)..end).map(|number| number as u32));
    }
    // Where the file system does not tell, everything is read.
    let extents = extents::map(&file).ok();
    let last = last.and_then(|last| {
        let theirs = extents::map(&last.file).ok()?;
        let is_near = last.file.metadata().ok()?.len() == len;
        is_near.then_some((last, theirs))
    });
    let source = Source {
        file,
        len,
        extents,
        last,
    };
    Ok((source, numbers))
}

/// Reads a chunk, and compresses it if it is not stored yet.
fn make(source: &Source, place: &Place, known: &Known, number: u32) -> Result<Chunk, BackupError> {
    let bytes = source.read(number)?;
    if files::is_zero(&bytes) {
        return Ok(Chunk::Zeros);
    }
    let digest = *blake3::hash(&bytes).as_bytes();
    let packed = if known.is_new(place.chunk(&digest)) {
        Some(pack(&bytes)?)
    } else {
        None
    };
    Ok(Chunk::Data(digest, packed))
}
