//! Makes a blob that is whole into a layer.

use std::io::{self, BufWriter, Read, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bhatti_host::files;
use fs_err::File;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::error::FetchError;
use super::source::LayerSpec;
use crate::layer::decompress;
use crate::layer::digest::Sha256Digest;
use crate::layer::files::Layer;
use crate::layer::limits::Limits;
use crate::layer::scan::scan;

/// Name of the file with the blob.
pub(super) const BLOB: &str = "blob";
/// Name of the file with the index.
const INDEX: &str = "index";
/// Name of the file that says what a layer is.
const RECORD: &str = "layer.json";
/// Version of that file.
const FORMAT: u32 = 1;
/// Largest such file read, in bytes.
const MAX_RECORD: u64 = 4 << 10;

/// What a layer is (`layer.json`).
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format: u32,
    pub(super) digest: Sha256Digest,
    pub(super) diff_id: Sha256Digest,
    pub(super) size: u64,
}

/// The name of a layer's directory.
pub(super) fn name(digest: &Sha256Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// The layer in a directory, if it is one.
pub(super) fn open(dir: &Path) -> Option<(Layer, Record)> {
    let text = files::read_bounded(&dir.join(RECORD), MAX_RECORD).ok()?;
    let record: Record = serde_json::from_slice(&text).ok()?;
    let (blob, index) = (dir.join(BLOB), dir.join(INDEX));
    let whole = record.format == FORMAT
        && dir.file_name()?.to_str()? == name(&record.digest)
        && fs_err::metadata(&blob).ok()?.len() == record.size
        && crate::layer::index::is_current(&index);
    whole.then_some((
        Layer {
            digest: record.digest,
            diff_id: record.diff_id,
            blob,
            index,
        },
        record,
    ))
}

/// Makes the blob in `dir`, of which the digest is known to be right, into a layer of the store
/// in `store`: looks through it, and puts the directory in place. Done means durable. Blocks.
///
/// On an error the directory is still there, and the caller's.
pub(super) fn seal(
    store: &Path,
    dir: &Path,
    spec: &LayerSpec,
    limits: &Limits,
    cancel: &CancellationToken,
) -> Result<Layer, FetchError> {
    let digest = spec.digest;
    let failed = |source| FetchError::store(digest, source);
    let unusable = |source| FetchError::Content { digest, source };
    let blob = File::open(dir.join(BLOB)).map_err(failed)?;
    let archive = decompress::open(blob.into_parts().0).map_err(failed)?;
    let found = scan(Cancellable(archive, cancel), limits);
    if cancel.is_cancelled() {
        return Err(FetchError::GivenUp { digest });
    }
    let found = found.map_err(unusable)?;
    if found.diff_id != spec.diff_id {
        return Err(FetchError::DiffId {
            digest,
            expected: spec.diff_id,
            found: found.diff_id,
        });
    }
    let record = Record {
        format: FORMAT,
        digest,
        diff_id: found.diff_id,
        size: spec.size,
    };
    let text = serde_json::to_vec(&record);
    let text = text.expect("a struct of strings and numbers is always valid JSON");
    let write = || {
        let mut index = BufWriter::new(File::create(dir.join(INDEX))?);
        found.write_to(&mut index)?;
        index.flush()?;
        fs_err::write(dir.join(RECORD), &text)?;
        for name in [BLOB, INDEX, RECORD] {
            let path = dir.join(name);
            files::sync_file(&path)?;
            fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o444))?;
        }
        fs_err::set_permissions(dir, std::fs::Permissions::from_mode(0o755))?;
        files::sync_dir(dir)
    };
    write().map_err(failed)?;
    place(store, dir, &digest).map_err(failed)
}

/// Puts a finished directory in place, unless one is there already.
fn place(store: &Path, dir: &Path, digest: &Sha256Digest) -> io::Result<Layer> {
    let to: PathBuf = store.join(name(digest));
    // Another flight may have brought it meanwhile. One that is damaged makes room.
    if let Some((layer, _)) = open(&to) {
        files::remove_tree(dir)?;
        return Ok(layer);
    }
    let result = files::rename_durable(dir, &to);
    if let Err(error) = result {
        if !to.exists() {
            return Err(error);
        }
        if open(&to).is_none() {
            files::remove_tree(&to)?;
            files::rename_durable(dir, &to)?;
        }
    }
    match open(&to) {
        Some((layer, _)) => Ok(layer),
        None => Err(io::Error::other("the layer in place is damaged")),
    }
}

/// A reader that can be broken off.
struct Cancellable<'a, R>(R, &'a CancellationToken);

impl<R: Read> Read for Cancellable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.1.is_cancelled() {
            // Not `Interrupted`: that would be tried again.
            return Err(io::Error::other("given up"));
        }
        self.0.read(buffer)
    }
}
