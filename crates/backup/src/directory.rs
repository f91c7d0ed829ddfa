//! A directory as storage, such as a mounted disk or network share.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bhatti_host::files;
use bytes::Bytes;

use crate::error::BackupError;
use crate::target::Target;

/// A directory.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Uses this directory, which is there: one that is not may be a disk that is not mounted.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, name: &str) -> Result<PathBuf, BackupError> {
        let is_plain = |part: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
            !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain)
        };
        if name.split('/').all(is_plain) {
            Ok(self.root.join(name))
        } else {
            Err(BackupError::damaged("it has an object with an odd name"))
        }
    }
}

async fn blocking<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, BackupError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)
        .and_then(|result| result)
        .map_err(BackupError::io(action))
}

fn write(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    if !root.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the directory for backups is not there",
        ));
    }
    let dir = path.parent().unwrap_or(root);
    fs_err::create_dir_all(dir)?;
    files::write_durable(path, bytes)
}

#[async_trait]
impl Target for Directory {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), BackupError> {
        let (root, path) = (self.root.clone(), self.path(name)?);
        blocking("write a backup", move || write(&root, &path, &bytes)).await
    }

    async fn get(&self, name: &str, limit: usize) -> Result<Option<Bytes>, BackupError> {
        let path = self.path(name)?;
        let read = blocking("read a backup", move || {
            let file = match fs_err::File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file?,
            };
            let mut bytes = Vec::new();
            file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        })
        .await?;
        match read {
            Some(bytes) if bytes.len() > limit => {
                Err(BackupError::damaged("an object is too large"))
            }
            read => Ok(read.map(Bytes::from)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackupError> {
        let name = prefix.trim_end_matches('/').to_owned();
        let dir = self.path(&name)?;
        blocking("list backups", move || {
            let entries = match fs_err::read_dir(dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            let mut names = Vec::new();
            for entry in entries {
                let file = entry?.file_name();
                // Others are not whole.
                if let Some(file) = file.to_str().filter(|file| !file.starts_with('.')) {
                    names.push(format!("{name}/{file}"));
                }
            }
            Ok(names)
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), BackupError> {
        let path = self.path(name)?;
        blocking("delete a backup", move || files::remove_file(&path)).await
    }
}
