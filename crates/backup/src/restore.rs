//! Reading a backup back. Nothing is believed: every chunk is what its digest says, and the map is
//! what the summary says.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bhatti_types::id::BackupId;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::error::BackupError;
use crate::format::{
    CHUNK, Digest, FORMAT, MAX_DISK, MAX_MAP, MAX_SUMMARY, Map, Place, Summary, packed_at_most,
    unpack,
};
use crate::target::Target;

/// Chunks that are fetched at once.
const AT_ONCE: usize = 4;

/// What is told of a backup.
pub async fn summary(
    target: &dyn Target,
    place: &Place,
    id: &BackupId,
) -> Result<Summary, BackupError> {
    let bytes = target.get(&place.summary(id), MAX_SUMMARY).await?;
    let bytes = bytes.ok_or_else(|| BackupError::NotFound { id: id.to_string() })?;
    let summary: Summary =
        serde_json::from_slice(&bytes).map_err(|_| BackupError::damaged("its summary"))?;
    if summary.format > FORMAT {
        return Err(BackupError::TooNew {
            found: summary.format,
            known: FORMAT,
        });
    }
    if summary.id != *id || summary.disk_bytes > MAX_DISK {
        return Err(BackupError::damaged("its summary"));
    }
    Ok(summary)
}

/// The map of a backup, checked.
pub async fn map(
    target: &dyn Target,
    place: &Place,
    summary: &Summary,
) -> Result<Map, BackupError> {
    let damaged = || BackupError::damaged("its map");
    let chunks = summary.disk_bytes.div_ceil(CHUNK) as usize;
    let limit = (chunks * (MAX_MAP / (MAX_DISK / CHUNK) as usize)).min(MAX_MAP);
    let bytes = target
        .get(&place.map(&summary.id), packed_at_most(limit))
        .await?
        .ok_or_else(damaged)?;
    let bytes = unpack(&bytes, limit)?;
    if blake3::hash(&bytes).to_hex().as_str() != summary.map_digest {
        return Err(damaged());
    }
    Map::from_bytes(&bytes, summary.disk_bytes)
}

/// Writes the disk of a backup into a new file, which is durable when this returns. On an error
/// the file is the caller's to delete.
pub async fn restore(
    target: &dyn Target,
    place: &Place,
    summary: &Summary,
    to: &Path,
) -> Result<(), BackupError> {
    let map = map(target, place, summary).await?;
    let write = BackupError::io;
    let (path, len) = (to.to_owned(), summary.disk_bytes);
    let made = blocking(move || {
        let (file, _) = fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)?
            .into_parts();
        file.set_len(len)?;
        Ok(file)
    });
    let file = Arc::new(made.await.map_err(write("make the disk"))?);
    let chunks = stream::iter(map.chunks).map(|(number, digest)| {
        let file = file.clone();
        async move {
            let at = u64::from(number) * CHUNK;
            let wanted = CHUNK.min(len - at) as usize;
            let bytes = fetch(target, place, digest, wanted).await?;
            blocking(move || file.write_all_at(&bytes, at))
                .await
                .map_err(BackupError::io("write the disk"))
        }
    });
    let done: Result<Vec<()>, BackupError> = chunks.buffer_unordered(AT_ONCE).try_collect().await;
    done?;
    blocking(move || file.sync_all())
        .await
        .map_err(BackupError::io("write the disk"))
}

/// A chunk, as it was.
async fn fetch(
    target: &dyn Target,
    place: &Place,
    digest: Digest,
    wanted: usize,
) -> Result<Vec<u8>, BackupError> {
    let name = place.chunk(&digest);
    let packed = target.get(&name, packed_at_most(CHUNK as usize)).await?;
    let packed = packed.ok_or_else(|| BackupError::damaged("a chunk is missing"))?;
    let unpacked = blocking(move || {
        let bytes = unpack(&packed, CHUNK as usize).map_err(std::io::Error::other)?;
        let is_it = bytes.len() == wanted && *blake3::hash(&bytes).as_bytes() == digest;
        Ok(is_it.then_some(bytes))
    });
    match unpacked.await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) | Err(_) => Err(BackupError::damaged("a chunk is not what it was")),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
