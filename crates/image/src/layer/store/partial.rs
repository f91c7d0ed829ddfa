//! A blob that is not whole yet.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fs_err::OpenOptions;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::seal::BLOB;
use crate::layer::digest::Sha256Digest;

/// Bytes that are read at once where what is there is hashed again.
const BUFFER: usize = 1 << 20;

/// A blob of which the beginning is here. All of it blocks.
pub(super) struct Partial {
    /// The directory it is in.
    pub(super) dir: PathBuf,
    file: File,
    hasher: Sha256,
    len: u64,
    inherited: bool,
}

impl Partial {
    /// Opens the one in a directory, or makes it. What is there is hashed, so it takes as long as
    /// reading it.
    ///
    /// More than `size` bytes cannot be the beginning of the blob: then it begins anew.
    pub(super) fn open(dir: PathBuf, size: u64, cancel: &CancellationToken) -> io::Result<Self> {
        fs_err::create_dir_all(&dir)?;
        let blob = dir.join(BLOB);
        if blob.exists() {
            // It is read-only where a daemon ended just before it would have been in place.
            fs_err::set_permissions(&blob, std::fs::Permissions::from_mode(0o600))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&blob)?;
        let mut partial = Self {
            dir,
            file: file.into_parts().0,
            hasher: Sha256::new(),
            len: 0,
            inherited: false,
        };
        if partial.file.metadata()?.len() > size {
            partial.restart()?;
        }
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = partial.file.read(&mut buffer)?;
            let read = buffer.get(..count).unwrap_or_default();
            if read.is_empty() {
                break;
            }
            partial.hasher.update(read);
            partial.len += read.len() as u64;
            if cancel.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
        }
        partial.inherited = partial.len > 0;
        Ok(partial)
    }

    /// How many bytes are here.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether some of it was here before: it may have been spoilt by a crash of the host.
    pub(super) fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Writes what came next.
    pub(super) fn append(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        for piece in pieces {
            self.file.write_all(piece)?;
            self.hasher.update(piece);
            self.len += piece.len() as u64;
        }
        Ok(())
    }

    /// Begins anew.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Sha256::new();
        self.len = 0;
        self.inherited = false;
        Ok(())
    }

    /// The digest of what is here.
    pub(super) fn digest(&self) -> Sha256Digest {
        Sha256Digest::from_bytes(self.hasher.clone().finalize().into())
    }
}

/// Whether a directory's name is that of a partial blob.
pub(super) fn is_partial(name: &str) -> bool {
    name.starts_with(PREFIX)
}

/// How the names of such directories begin.
const PREFIX: &str = ".part-";

/// The directory of a layer that comes from a place. Its name holds no more of the place than
/// tells it from others.
pub(super) fn dir_of(store: &Path, digest: &Sha256Digest, origin: &str) -> PathBuf {
    let origin: String = Sha256Digest::of(origin.as_bytes())
        .hex()
        .chars()
        .take(16)
        .collect();
    store.join(format!("{PREFIX}{}-{origin}", digest.hex()))
}

#[cfg(test)]
mod test {
    use bytes::Bytes;
    use tokio_util::sync::CancellationToken;

    use super::{Partial, dir_of};
    use crate::layer::digest::Sha256Digest;

    #[test]
    fn a_partial_blob_goes_on_where_it_was_left() {
        let dir = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        let place = dir_of(dir.path(), &Sha256Digest::of(b"abcd"), "here");
        let open = |size| Partial::open(place.clone(), size, &cancel).unwrap();
        let mut first = open(4);
        first.append(&[Bytes::from_static(b"ab")]).unwrap();
        drop(first);
        let mut second = open(4);
        assert!(second.is_inherited());
        assert_eq!(second.len(), 2);
        second
            .append(&[Bytes::from_static(b"c"), Bytes::from_static(b"d")])
            .unwrap();
        assert_eq!(second.digest(), Sha256Digest::of(b"abcd"));
        drop(second);
        let third = open(3);
        assert_eq!((third.len(), third.is_inherited()), (0, false));
    }

    #[test]
    fn what_comes_from_elsewhere_is_kept_apart() {
        let digest = Sha256Digest::of(b"");
        let store = std::path::Path::new("/");
        assert_ne!(dir_of(store, &digest, "a"), dir_of(store, &digest, "b"));
    }
}
