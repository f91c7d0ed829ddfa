//! Finds what is in a layer.

use std::fs::File;
use std::os::fd::AsFd as _;

use crate::convert::job::{Reply, Work};
use crate::convert::options::Options;
use crate::convert::process::Process;
use crate::layer::digest::Sha256Digest;

pub use crate::convert::process::WorkerError;

/// What a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inspected {
    /// The digest of its uncompressed archive.
    pub diff_id: Sha256Digest,
    /// How many bytes that archive has.
    pub bytes: u64,
    /// How many entries it has.
    pub entries: u64,
}

/// Has a worker read a layer's blob and write its index into an empty file, which is synced.
///
/// Dropping the future ends the worker. What is in the file after an error is not an index.
pub async fn inspect(
    blob: &File,
    index: &File,
    options: &Options,
) -> Result<Inspected, WorkerError> {
    let files = [blob.as_fd(), index.as_fd()];
    let mut process = Process::start(options, Work::Inspect, &files)?;
    match process.next().await? {
        Some(Reply::Inspected {
            diff_id,
            bytes,
            entries,
        }) => {
            process.end().await?;
            Ok(Inspected {
                diff_id,
                bytes,
                entries,
            })
        }
        Some(_) => Err(WorkerError::Nonsense),
        None => Err(process.early_end().await),
    }
}
