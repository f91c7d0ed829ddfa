//! Takes layers out of archives into the store.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::error::FetchError;
use super::seal::{self, BLOB};
use super::shelf::Lease;
use super::source::LayerSpec;
use crate::layer::files::Layer;
use crate::place;

/// A place in the store for what is not a layer yet. It is deleted when this is dropped, and at
/// the next start.
#[derive(Debug)]
pub struct Workshop {
    dir: tempfile::TempDir,
}

impl Workshop {
    /// The directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Lease {
    /// Makes a place for what is not a layer yet, on the store's file system.
    pub fn workshop(&self) -> std::io::Result<Workshop> {
        Ok(Workshop {
            dir: place::half_made(&self.store.shared.dir)?,
        })
    }

    /// Makes the blob in a file of `workshop`, whose digest and size are known to be those of
    /// `spec`, into a layer; the file is moved. Where the layer is there already, it is left. The
    /// layer stays until the lease is dropped. Blocks: it is looked through.
    pub fn adopt(
        &self,
        workshop: &Workshop,
        blob: &Path,
        spec: &LayerSpec,
        cancel: &CancellationToken,
    ) -> Result<Layer, FetchError> {
        let digest = spec.digest;
        let failed = |source| FetchError::store(digest, source);
        if let Some(layer) = self.get(&digest) {
            if layer.diff_id != spec.diff_id {
                return Err(FetchError::DiffId {
                    digest,
                    expected: spec.diff_id,
                    found: layer.diff_id,
                });
            }
            return Ok(layer);
        }
        let shared = &self.store.shared;
        let dir: PathBuf = workshop.path().join(seal::name(&digest));
        fs_err::create_dir(&dir).map_err(failed)?;
        fs_err::rename(blob, dir.join(BLOB)).map_err(failed)?;
        seal::seal(&shared.dir, &dir, spec, &shared.options.limits, cancel)
    }
}
