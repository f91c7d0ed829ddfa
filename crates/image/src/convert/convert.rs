//! Makes a disk of layers.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bhatti_host::command::{Command, CommandError};
use bhatti_host::files;
use sha2::{Digest as _, Sha256};

use crate::convert::job::{Reply, Work};
use crate::convert::options::Options;
use crate::convert::process::{Process, WorkerError};
use crate::layer::digest::Sha256Digest;
use crate::layer::files::Layer;

/// Part of every disk's digest: raise it when something else is made of the same layers.
const CONVERSION: &str = "bhatti disk 1";
/// Time limit for making the empty file system.
const MKE2FS_LIMIT: Duration = Duration::from_mins(5);
/// The time that stands in the superblock, in seconds since 1970: the same for every disk, so that
/// the same layers give the same disk. 0 would mean that it is not set.
const FILE_SYSTEM_TIME: &str = "1";

/// A disk that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// How many bytes it has: whole MiB, most of them holes.
    pub size: u64,
    /// What it was made of: the same for the same layers.
    pub digest: Sha256Digest,
    /// How many bytes it takes on the host.
    pub own_bytes: u64,
    /// How many files are on it.
    pub files: u64,
}

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of files' contents that are on the disk.
    pub done: u64,
    /// How many there will be.
    pub total: u64,
}

/// A disk cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A layer's file cannot be opened.
    #[error("failed to open the layer {digest}")]
    Layer {
        /// Which.
        digest: Sha256Digest,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The worker could not do its part.
    #[error("failed to convert the layers")]
    Worker(#[source] WorkerError),
    /// What is in the layers is too large.
    #[error("the layers need a disk of {} MiB, {} MiB are allowed", bytes >> 20, limit >> 20)]
    TooLarge {
        /// How many bytes it would have.
        bytes: u64,
        /// How many it may have.
        limit: u64,
    },
    /// The empty file system could not be made.
    #[error("failed to make an empty file system")]
    Mke2fs(#[source] CommandError),
    /// The file could not be made.
    #[error("failed to make {path:?}")]
    Disk {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// Makes a disk of layers, the bottom one first, as a new file, which is synced; its directory is
/// not.
///
/// Dropping the future ends the work. If it fails or is dropped there is no file.
pub async fn convert(
    layers: &[Layer],
    out: &Path,
    options: &Options,
    mut progress: impl FnMut(Progress),
) -> Result<Converted, ConvertError> {
    let failed = |source| ConvertError::Disk {
        path: out.to_owned(),
        source,
    };
    let mut open = fs_err::OpenOptions::new();
    let disk = open.read(true).write(true).create_new(true).open(out);
    let disk = disk.map_err(failed)?.into_file();
    let unfinished = Unfinished(Some(out));
    let mut files = Vec::new();
    for layer in layers {
        for path in [&layer.blob, &layer.index] {
            let file = fs_err::File::open(path).map_err(|source| ConvertError::Layer {
                digest: layer.digest,
                source,
            })?;
            files.push(file.into_file());
        }
    }
    files.push(disk.try_clone().map_err(failed)?);
    let descriptors: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let work = Work::Convert {
        threads: options.threads,
    };
    let worker = ConvertError::Worker;
    let mut process = Process::start(options, work, &descriptors).map_err(worker)?;
    drop(files);

    let digest = digest(layers);
    let mut size = 0;
    loop {
        match process.next().await.map_err(worker)? {
            Some(Reply::Size {
                bytes,
                inodes,
                journal_mib,
            }) if size == 0 => {
                if bytes > options.disk_bytes {
                    return Err(ConvertError::TooLarge {
                        bytes,
                        limit: options.disk_bytes,
                    });
                }
                size = bytes;
                disk.set_len(size).map_err(failed)?;
                mke2fs(out, inodes, journal_mib, &digest).await?;
                process.go().await.map_err(worker)?;
            }
            Some(Reply::Progress { done, total }) => progress(Progress { done, total }),
            Some(Reply::Written { files }) if size > 0 => {
                process.end().await.map_err(worker)?;
                let own_bytes = own_bytes(&disk).map_err(failed)?;
                unfinished.keep();
                return Ok(Converted {
                    size,
                    digest,
                    own_bytes,
                    files,
                });
            }
            Some(_) => return Err(worker(WorkerError::Nonsense)),
            None => return Err(worker(process.early_end().await)),
        }
    }
}

/// Deletes a file that is not whole.
struct Unfinished<'a>(Option<&'a Path>);

impl Unfinished<'_> {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(path) = self.0
            && let Err(error) = files::remove_file(path)
        {
            tracing::warn!(
                ?path,
                error = &error as &dyn std::error::Error,
                "an unfinished disk stays"
            );
        }
    }
}

fn own_bytes(disk: &File) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    Ok(disk.metadata()?.blocks() * 512)
}

/// What a disk is made of: the layers' archives and the way they are converted.
fn digest(layers: &[Layer]) -> Sha256Digest {
    let mut sum = Sha256::new();
    sum.update(CONVERSION);
    for layer in layers {
        sum.update(layer.diff_id.as_bytes());
    }
    Sha256Digest::from_bytes(sum.finalize().into())
}

async fn mke2fs(
    disk: &Path,
    inodes: u64,
    journal_mib: u64,
    digest: &Sha256Digest,
) -> Result<(), ConvertError> {
    let command = Command::new("mke2fs")
        .args(mke2fs_args(inodes, journal_mib, digest))
        .arg(disk)
        .env("E2FSPROGS_FAKE_TIME", FILE_SYSTEM_TIME)
        .limit(MKE2FS_LIMIT);
    command.run().await.map(drop).map_err(ConvertError::Mke2fs)
}

fn mke2fs_args(inodes: u64, journal_mib: u64, digest: &Sha256Digest) -> Vec<String> {
    let (own, hash) = digest.as_bytes().split_at(16);
    let words = ["-q", "-F", "-t", "ext4", "-L", "root"];
    let mut args: Vec<String> = words.map(str::to_owned).to_vec();
    // What the writer of trees needs, whatever the host's configuration says. Root's reserve is
    // less than usual, which is meant for disks that never move.
    args.extend(["-b", "4096", "-I", "256", "-m", "1"].map(str::to_owned));
    args.extend(["-N".to_owned(), inodes.to_string()]);
    args.extend(["-J".to_owned(), format!("size={journal_mib}")]);
    args.extend(["-U".to_owned(), uuid(own)]);
    // Without the first the guest's kernel writes zeros over all inode tables in the background,
    // in every machine anew. Here they are holes, as is the journal.
    let more = format!(
        "lazy_itable_init=0,lazy_journal_init=1,hash_seed={}",
        uuid(hash)
    );
    args.extend(["-E".to_owned(), more]);
    args
}

/// A UUID of version 8 (RFC 9562, 5.8: whatever its maker wants) from a part of a digest.
fn uuid(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for (at, byte) in bytes.iter().enumerate() {
        let byte = match at {
            6 => byte & 0x0f | 0x80,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod test {
    use super::{mke2fs_args, uuid};
    use crate::layer::digest::Sha256Digest;

    #[test]
    fn the_same_layers_give_a_file_system_of_the_same_name() {
        let args = mke2fs_args(5000, 64, &Sha256Digest::of(b"")).join(" ");
        assert_eq!(
            args,
            "-q -F -t ext4 -L root -b 4096 -I 256 -m 1 -N 5000 -J size=64 \
             -U e3b0c442-98fc-8c14-9afb-f4c8996fb924 -E lazy_itable_init=0,lazy_journal_init=1,\
             hash_seed=27ae41e4-649b-834c-a495-991b7852b855"
        );
        assert_eq!(uuid(&[0xff; 16]), "ffffffff-ffff-8fff-bfff-ffffffffffff");
    }
}
