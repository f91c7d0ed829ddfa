//! Taking a pool off the host.

use std::path::Path;

use super::error::PoolError;
use super::image::Place;

/// Unmounts the pool of a data directory and takes its file off the loop device; the file stays,
/// and the next [`super::storage::open`] mounts it again. Success if there is no pool, or it is
/// not mounted. An error if something uses it: machines go on without their daemon. Blocking.
pub fn release(data_dir: &Path) -> Result<(), PoolError> {
    Place::of(data_dir)?.release()
}
