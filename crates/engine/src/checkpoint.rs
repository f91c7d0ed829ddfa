//! Images of a machine on disk: checkpoints, cold images and templates.
//!
//! An image is a directory of files and a manifest that names their sizes and digests. It is
//! written under another name, synced, and renamed when it is whole, so that a directory with the
//! right name is a whole image. The manifest's first line carries its format's version and its own
//! digest:
//! ```text
//! bhatti-image 2 <BLAKE3 of the rest, hexadecimal>
//! {"kind":"checkpoint", …}
//! ```
//! Memory and disk are digested by parts: a table of these ([`bhatti_host::sums`]) lies beside
//! each, and the digest that the manifest has of the file and of the table is that of the table's
//! bytes. In format 1, which is still read, it was that of all the file's pages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use bhatti_host::extents::{self, Usage};
use bhatti_host::files;
use bhatti_host::sums::{self, Sums, SumsError};
use bhatti_types::id::VolumeId;
use bhatti_types::mount::MountPath;
use bhatti_types::name::VolumeName;
use bhatti_types::size::VolumeMb;
use serde::{Deserialize, Serialize};

use crate::bases::Bases;
use crate::layout::file;

/// The version of the format that is written.
pub const FORMAT: u32 = 2;
/// The last version without tables of digests.
const WITHOUT_SUMS: u32 = 1;
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
    /// The machine's volumes: their disks have to be there when its state is loaded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<SavedVolume>,
}

/// A volume of a saved machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedVolume {
    /// Its place on the machine's controller.
    pub slot: u8,
    /// The serial number by which the guest knows it.
    pub serial: String,
    /// Where the guest has mounted it.
    pub mount: MountPath,
    /// Whether the guest could not write to it.
    pub read_only: bool,
    /// The volume that it was.
    pub volume: VolumeId,
    /// That volume's name.
    pub name: VolumeName,
    /// That volume's size.
    pub size_mb: VolumeMb,
    /// That volume's generation: as long as it has the same, its contents are the same, if the
    /// guest could not write to it.
    pub generation: u64,
}

impl SavedVolume {
    /// The file of an image that holds its contents.
    pub fn file(&self) -> String {
        volume_file(self.slot)
    }
}

/// The file of an image that holds the contents of the volume in a place.
pub fn volume_file(slot: u8) -> String {
    format!("volume-{slot}.raw")
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
    /// Its digest as `bhatti_host::files::sparse_digest` makes it; of memory, of a disk and of
    /// their tables: the digest of the table's bytes, in hexadecimal.
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
/// `manifest.files` is filled in from `names`; what the files were cloned from, if that is known,
/// saves reading what they share with it. Blocking.
pub fn seal(
    half: &Path,
    whole: &Path,
    mut manifest: Manifest,
    names: &[&str],
    bases: &Bases,
) -> Result<(), ImageError> {
    let io = |action| move |source| ImageError::Io { action, source };
    if !half.exists() && verify(whole, Depth::Sizes).is_ok() {
        // Sealed already.
        return Ok(());
    }
    // All at once: syncing waits for the disk, digesting for the processor.
    std::thread::scope(|threads| {
        let sync = |name: &&str| {
            let path = half.join(name);
            threads.spawn(move || files::sync_file(&path))
        };
        let digest = |name| threads.spawn(move || digest(half, name, bases));
        let syncing: Vec<_> = names.iter().map(sync).collect();
        let digesting: Vec<_> = names.iter().copied().map(digest).collect();
        for digest in digesting {
            let entries = joined(digest).map_err(io("read a file of the image"))?;
            manifest.files.extend(entries);
        }
        for sync in syncing {
            joined(sync).map_err(io("sync a file of the image"))?;
        }
        Ok(())
    })?;
    // The directory is synced with it.
    files::write_durable(&half.join(file::MANIFEST), encode(&manifest).as_bytes())
        .map_err(io("write the manifest"))?;
    files::rename_durable(half, whole).map_err(io("rename the image"))
}

/// What a thread came to; if it panicked, so does this one.
fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    let result = thread.join();
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The entry of a file, and that of its table, which is written, if it gets one.
fn digest(dir: &Path, name: &str, bases: &Bases) -> io::Result<Vec<(String, FileEntry)>> {
    let path = dir.join(name);
    let entry = |path: &Path, digest| -> io::Result<_> {
        let bytes = fs_err::metadata(path)?.len();
        Ok(FileEntry { bytes, digest })
    };
    if !is_summed(name) {
        let digest = files::sparse_digest(&path)?;
        return Ok(vec![(name.to_owned(), entry(&path, digest)?)]);
    }
    let table = sums::beside(&path);
    let (sums, work) = sums::of_counted(&open(&path)?, bases.get(name))?;
    tracing::debug!(name, work.read, work.inherited, "chunks were digested");
    let digest = sums.write(&table)?;
    Ok(vec![
        (name.to_owned(), entry(&path, digest.clone())?),
        (table_name(name), entry(&table, digest)?),
    ])
}

/// Whether a file has a table of digests: memory and disks.
fn is_summed(name: &str) -> bool {
    name != file::STATE && !name.ends_with(sums::SUFFIX)
}

fn table_name(name: &str) -> String {
    format!("{name}{}", sums::SUFFIX)
}

fn open(path: &Path) -> io::Result<File> {
    Ok(fs_err::File::open(path)?.into_parts().0)
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
    let Decoded { format, manifest } = decode(&bytes)?;
    for (name, entry) in &manifest.files {
        let known = match name.strip_suffix(sums::SUFFIX) {
            None => {
                [file::STATE, file::MEMORY, file::DISK].contains(&name.as_str())
                    || manifest.volumes.iter().any(|it| it.file() == *name)
            }
            // A table has a subject with the same digest.
            Some(subject) => {
                let subject = manifest.files.get(subject);
                subject
                    .is_some_and(|subject| format > WITHOUT_SUMS && subject.digest == entry.digest)
            }
        };
        let has_table = manifest.files.contains_key(&table_name(name));
        let needs_table = format > WITHOUT_SUMS && is_summed(name);
        if !known || has_table != needs_table {
            return Err(ImageError::Manifest);
        }
        let len = fs_err::metadata(dir.join(name)).map(|metadata| metadata.len());
        if len.ok() != Some(entry.bytes) {
            return Err(ImageError::File { name: name.clone() });
        }
    }
    if depth == Depth::Digests {
        for (name, entry) in &manifest.files {
            check(dir, format, name, entry)?;
        }
    }
    Ok(manifest)
}

/// Checks every byte of a file and of its table.
fn check(dir: &Path, format: u32, name: &str, entry: &FileEntry) -> Result<(), ImageError> {
    const READ: &str = "read a file of the image";
    let io = |source| ImageError::Io {
        action: READ,
        source,
    };
    let damaged = |name: &str| ImageError::File {
        name: name.to_owned(),
    };
    let path = dir.join(name);
    if name.ends_with(sums::SUFFIX) {
        // Checked with its subject.
        return Ok(());
    }
    if format <= WITHOUT_SUMS || !is_summed(name) {
        let digest = files::sparse_digest(&path).map_err(io)?;
        return if digest == entry.digest {
            Ok(())
        } else {
            Err(damaged(name))
        };
    }
    let bytes = sums::read_bytes(&sums::beside(&path), entry.bytes).map_err(io)?;
    let table = Sums::from_bytes(&bytes);
    let table = match table {
        Ok(table) if sums::digest(&bytes) == entry.digest => table,
        _ => return Err(damaged(&table_name(name))),
    };
    match sums::verify(&open(&path).map_err(io)?, &table) {
        Ok(()) => Ok(()),
        Err(SumsError::Read(source)) => Err(io(source)),
        Err(SumsError::Length { .. } | SumsError::FirstBad { .. }) => Err(damaged(name)),
    }
}

/// What the files of an image take on disk: its own, and what other files hold too. Blocking.
pub fn usage(dir: &Path) -> io::Result<Usage> {
    extents::usage_of_dir(dir)
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

struct Decoded {
    format: u32,
    manifest: Manifest,
}

fn decode(bytes: &[u8]) -> Result<Decoded, ImageError> {
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
    let manifest = serde_json::from_str(body).map_err(|_| ImageError::Manifest)?;
    Ok(Decoded { format, manifest })
}

#[cfg(test)]
pub(crate) mod test {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    use super::{Depth, ImageError, ImageKind, Manifest, seal, verify};
    use crate::bases::{Base, Bases};

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
            volumes: Vec::new(),
        }
    }

    /// Makes an image of files of which each holds the same.
    pub(crate) fn image(dir: &Path, name: &str, files: &[&str]) -> PathBuf {
        let (half, whole) = (dir.join(format!(".new-{name}")), dir.join(name));
        fs_err::create_dir(&half).expect("a directory can be made");
        for name in files {
            fs_err::write(half.join(name), vec![7; 9000]).expect("a file can be written");
        }
        seal(&half, &whole, manifest(), files, &Bases::none()).expect("an image can be made");
        whole
    }

    pub(crate) fn sealed(dir: &Path) -> PathBuf {
        image(dir, "x", &["state", "mem"])
    }

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../contracts")
            .join(name)
    }

    #[test]
    fn the_manifests_bytes_do_not_change_unnoticed() {
        let dir = tempfile::tempdir().unwrap();
        let whole = image(dir.path(), "x", &["state", "mem", "disk.raw"]);
        let written = fs_err::read_to_string(whole.join("manifest")).unwrap();
        let golden = golden("image-manifest-v2");
        if std::env::var_os("BLESS").is_some() {
            fs_err::write(&golden, &written).unwrap();
        }
        assert_eq!(written, fs_err::read_to_string(golden).unwrap());
    }

    #[test]
    fn an_image_of_format_1_is_read_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        for name in ["state", "mem"] {
            fs_err::write(file(name), vec![7; 9000]).unwrap();
        }
        fs_err::copy(golden("image-manifest-v1"), file("manifest")).unwrap();
        let read = verify(dir.path(), Depth::Digests).unwrap();
        assert_eq!(read.files.len(), 2);
        assert!(Base::of_image(dir.path(), "mem").is_none());
        fs_err::write(file("mem"), vec![8; 9000]).unwrap();
        assert_eq!(damaged(dir.path(), Depth::Digests), "mem");
    }

    /// The file that is said to be damaged.
    fn damaged(image: &Path, depth: Depth) -> String {
        match verify(image, depth) {
            Err(ImageError::File { name }) => name,
            Err(ImageError::Manifest) => "manifest".to_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn damage_to_each_file_is_noticed_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["state", "mem", "disk.raw"];
        let whole = image(dir.path(), "x", &files);
        verify(&whole, Depth::Digests).unwrap();
        for name in [
            "state",
            "mem",
            "disk.raw",
            "mem.sums",
            "disk.raw.sums",
            "manifest",
        ] {
            let path = whole.join(name);
            let good = fs_err::read(&path).unwrap();
            for at in [0, good.len() / 2, good.len() - 1] {
                let mut bad = good.clone();
                bad[at] ^= 1;
                fs_err::write(&path, &bad).unwrap();
                assert_eq!(damaged(&whole, Depth::Digests), name, "byte {at}");
            }
            for bad in [&good[1..], &[good.as_slice(), b" "].concat(), b""] {
                fs_err::write(&path, bad).unwrap();
                assert_eq!(damaged(&whole, Depth::Sizes), name);
            }
            fs_err::remove_file(&path).unwrap();
            assert_eq!(damaged(&whole, Depth::Sizes), name);
            fs_err::write(&path, &good).unwrap();
        }
        verify(&whole, Depth::Digests).unwrap();
    }

    #[test]
    fn a_manifest_that_was_changed_or_is_of_a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let whole = sealed(dir.path());
        let path = whole.join("manifest");
        let text = fs_err::read_to_string(&path).unwrap();
        let changed = text.replace("\"memory_mb\":512", "\"memory_mb\":513");
        fs_err::write(&path, changed).unwrap();
        assert_eq!(damaged(&whole, Depth::Sizes), "manifest");
        fs_err::write(&path, text.replacen(" 2 ", " 3 ", 1)).unwrap();
        assert!(matches!(
            verify(&whole, Depth::Sizes),
            Err(ImageError::TooNew { found: 3 })
        ));
        // Whose digests are then not what they were made as.
        fs_err::write(&path, text.replacen(" 2 ", " 1 ", 1)).unwrap();
        assert_eq!(damaged(&whole, Depth::Sizes), "manifest");
    }

    #[test]
    fn a_manifest_that_does_not_list_the_tables_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let whole = sealed(dir.path());
        let rewrite = |change: &dyn Fn(&mut Manifest)| {
            let mut manifest = verify(&whole, Depth::Sizes).unwrap();
            change(&mut manifest);
            fs_err::write(whole.join("manifest"), super::encode(&manifest)).unwrap();
            let said = damaged(&whole, Depth::Sizes);
            fs_err::remove_dir_all(&whole).unwrap();
            sealed(dir.path());
            said
        };
        let said = rewrite(&|manifest| drop(manifest.files.remove("mem.sums")));
        assert_eq!(said, "manifest");
        let said = rewrite(&|manifest| drop(manifest.files.remove("mem")));
        assert_eq!(said, "manifest");
        let said = rewrite(&|manifest| {
            let entry = manifest.files["state"].clone();
            manifest.files.insert("state.sums".to_owned(), entry);
        });
        assert_eq!(said, "manifest");
        let said = rewrite(&|manifest| {
            let entry = manifest.files["mem"].clone();
            manifest.files.insert("../mem".to_owned(), entry);
        });
        assert_eq!(said, "manifest");
    }

    #[test]
    fn an_image_over_a_base_is_the_same_as_without() {
        let dir = tempfile::tempdir().unwrap();
        let base = image(dir.path(), "base", &["mem"]);
        let half = dir.path().join(".new-over");
        fs_err::create_dir(&half).unwrap();
        // Another name of the base's memory.
        fs_err::hard_link(base.join("mem"), half.join("mem")).unwrap();
        let bases = Bases::none().with("mem", Base::of_image(&base, "mem"));
        assert!(bases.get("mem").is_some());
        let over = dir.path().join("over");
        seal(&half, &over, manifest(), &["mem"], &bases).unwrap();
        // Again, as after a crash.
        seal(&half, &over, manifest(), &["mem"], &bases).unwrap();
        let (base, over) = (
            verify(&base, Depth::Digests).unwrap(),
            verify(&over, Depth::Digests).unwrap(),
        );
        assert_eq!(base.files, over.files);
    }
}
