//! Images of a machine on disk: checkpoints, cold images and templates.
//!
//! An image is a directory of files and a manifest that names their sizes and digests. It is
//! written under another name, synced, and renamed when it is whole, so that a directory with the
//! right name is a whole image. The manifest's first line carries its format's version and its own
//! digest:
//! ```text
//! bhatti-image 1 <BLAKE3 of the rest, hexadecimal>
//! {"kind":"checkpoint", …}
//! ```

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bhatti_host::files;
use serde::{Deserialize, Serialize};

use crate::layout::file;

/// The version of the format that is written.
pub const FORMAT: u32 = 1;
const MAGIC: &str = "bhatti-image";
/// Longest manifest that is read, in bytes.
const MAX_MANIFEST: u64 = 1 << 20;

/// What an image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// What it is for.
    pub kind: ImageKind,
    /// Id of the sandbox it was taken of.
    pub sandbox: String,
    /// The engine that wrote the device state.
    pub engine: String,
    /// The accelerator it ran under.
    pub accelerator: String,
    /// The guest kit it booted from.
    pub kit: String,
    /// vCPUs.
    pub cpus: u32,
    /// Memory, in MiB.
    pub memory_mb: u32,
    /// When it was taken, RFC 3339.
    pub created_at: String,
    /// Its files by name.
    pub files: BTreeMap<String, FileEntry>,
}

/// What an image is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// Resumed any number of times; holds a disk.
    Checkpoint,
    /// Used once, over the sandbox's own disk.
    Cold,
    /// What creates are forked from; holds a disk.
    Template,
}

/// A file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Its length, holes included.
    pub bytes: u64,
    /// Its digest as `bhatti_host::files::sparse_digest` makes it.
    pub digest: String,
}

/// An image is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file of it could not be read or written.
    #[error("failed to {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It was written by a newer bhatti.
    #[error("the image has format {found}, this version reads formats up to {FORMAT}")]
    TooNew {
        /// Its format.
        found: u32,
    },
    /// The manifest is not one, or was changed.
    #[error("the image's manifest is damaged")]
    Manifest,
    /// A file is missing, or not what it was.
    #[error("the image's file {name:?} is damaged")]
    File {
        /// Which file.
        name: String,
    },
}

/// Makes a half-made image whole: syncs its files, writes the manifest, renames the directory.
/// `manifest.files` is filled in from `names`. Blocking.
pub fn seal(
    half: &Path,
    whole: &Path,
    mut manifest: Manifest,
    names: &[&str],
) -> Result<(), ImageError> {
    let io = |action| move |source| ImageError::Io { action, source };
    if !half.exists() && verify(whole, Depth::Sizes).is_ok() {
        // Sealed already.
        return Ok(());
    }
    for name in names {
        let path = half.join(name);
        let bytes = fs_err::metadata(&path)
            .map_err(io("read a file of the image"))?
            .len();
        // Both at once: one waits for the disk, the other for the processor.
        let (digest, synced) = std::thread::scope(|threads| {
            let syncing = threads.spawn(|| files::sync_file(&path));
            let digest = files::sparse_digest(&path);
            let synced = syncing.join();
            (
                digest,
                synced.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        });
        synced.map_err(io("sync a file of the image"))?;
        let digest = digest.map_err(io("read a file of the image"))?;
        manifest
            .files
            .insert((*name).to_owned(), FileEntry { bytes, digest });
    }
    files::write_durable(&half.join(file::MANIFEST), encode(&manifest).as_bytes())
        .map_err(io("write the manifest"))?;
    files::sync_dir(half).map_err(io("sync the image"))?;
    files::rename_durable(half, whole).map_err(io("rename the image"))
}

/// How much of an image is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// The manifest and the sizes.
    Sizes,
    /// Every byte.
    Digests,
}

/// Checks an image and gives its manifest. Blocking.
pub fn verify(dir: &Path, depth: Depth) -> Result<Manifest, ImageError> {
    let io = |action| move |source| ImageError::Io { action, source };
    let bytes =
        files::read_bounded(&dir.join(file::MANIFEST), MAX_MANIFEST).map_err(
            |source| match source.kind() {
                io::ErrorKind::NotFound => ImageError::Manifest,
                _ => ImageError::Io {
                    action: "read the manifest",
                    source,
                },
            },
        )?;
    let manifest = decode(&bytes)?;
    for (name, entry) in &manifest.files {
        let damaged = || ImageError::File { name: name.clone() };
        if ![file::STATE, file::MEMORY, file::DISK].contains(&name.as_str()) {
            return Err(ImageError::Manifest);
        }
        let path = dir.join(name);
        let len = fs_err::metadata(&path).map_err(|_| damaged())?.len();
        let sound = len == entry.bytes
            && (depth == Depth::Sizes
                || files::sparse_digest(&path).map_err(io("read a file of the image"))?
                    == entry.digest);
        if !sound {
            return Err(damaged());
        }
    }
    Ok(manifest)
}

/// What the files of an image take on disk, in bytes.
pub fn disk_usage(dir: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs_err::read_dir(dir)? {
        total += files::disk_usage(&entry?.path())?;
    }
    Ok(total)
}

fn encode(manifest: &Manifest) -> String {
    // Every part of a manifest is a string, a number or a map of them.
    let body = serde_json::to_string(manifest).unwrap_or_default();
    format!(
        "{MAGIC} {FORMAT} {}\n{body}",
        blake3::hash(body.as_bytes()).to_hex()
    )
}

fn decode(bytes: &[u8]) -> Result<Manifest, ImageError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ImageError::Manifest)?;
    let (head, body) = text.split_once('\n').ok_or(ImageError::Manifest)?;
    let mut words = head.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(ImageError::Manifest);
    }
    let format: u32 = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(ImageError::Manifest)?;
    if format > FORMAT {
        return Err(ImageError::TooNew { found: format });
    }
    if words.next() != Some(blake3::hash(body.as_bytes()).to_hex().as_str()) {
        return Err(ImageError::Manifest);
    }
    serde_json::from_str(body).map_err(|_| ImageError::Manifest)
}

#[cfg(test)]
mod test {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::{Depth, ImageError, ImageKind, Manifest, seal, verify};

    fn manifest() -> Manifest {
        Manifest {
            kind: ImageKind::Checkpoint,
            sandbox: "sbx_0000000000000001".to_owned(),
            engine: "qemu".to_owned(),
            accelerator: "tcg".to_owned(),
            kit: "0123456789abcdef".to_owned(),
            cpus: 1,
            memory_mb: 512,
            created_at: "2026-01-01T00:00:00Z".to_owned(),
            files: BTreeMap::new(),
        }
    }

    fn sealed(dir: &std::path::Path) -> PathBuf {
        let (half, whole) = (dir.join(".new-x"), dir.join("x"));
        fs_err::create_dir(&half).unwrap();
        for name in ["state", "mem"] {
            fs_err::write(half.join(name), vec![7; 9000]).unwrap();
        }
        seal(&half, &whole, manifest(), &["state", "mem"]).unwrap();
        whole
    }

    #[test]
    fn the_manifests_bytes_do_not_change_unnoticed() {
        let dir = tempfile::tempdir().unwrap();
        let whole = sealed(dir.path());
        let written = fs_err::read_to_string(whole.join("manifest")).unwrap();
        let golden = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../contracts/image-manifest-v1"
        );
        assert_eq!(written, fs_err::read_to_string(golden).unwrap());
    }

    #[test]
    fn every_kind_of_damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let whole = sealed(dir.path());
        verify(&whole, Depth::Digests).unwrap();
        let mem = whole.join("mem");
        let good = fs_err::read(&mem).unwrap();
        let mut bad = good.clone();
        bad[8999] = 8;
        fs_err::write(&mem, &bad).unwrap();
        verify(&whole, Depth::Sizes).unwrap();
        assert!(matches!(
            verify(&whole, Depth::Digests),
            Err(ImageError::File { .. })
        ));
        fs_err::write(&mem, &good[1..]).unwrap();
        assert!(matches!(
            verify(&whole, Depth::Sizes),
            Err(ImageError::File { .. })
        ));
        fs_err::remove_file(&mem).unwrap();
        assert!(matches!(
            verify(&whole, Depth::Sizes),
            Err(ImageError::File { .. })
        ));
        fs_err::write(&mem, &good).unwrap();
        let path = whole.join("manifest");
        let text = fs_err::read_to_string(&path).unwrap();
        fs_err::write(
            &path,
            text.replace("\"memory_mb\":512", "\"memory_mb\":513"),
        )
        .unwrap();
        assert!(matches!(
            verify(&whole, Depth::Sizes),
            Err(ImageError::Manifest)
        ));
        fs_err::write(&path, text.replacen(" 1 ", " 2 ", 1)).unwrap();
        assert!(matches!(
            verify(&whole, Depth::Sizes),
            Err(ImageError::TooNew { found: 2 })
        ));
        fs_err::write(&path, "").unwrap();
        assert!(matches!(
            verify(&whole, Depth::Sizes),
            Err(ImageError::Manifest)
        ));
    }
}
