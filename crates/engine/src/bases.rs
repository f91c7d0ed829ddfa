//! What the files of a new image were cloned from, so that digesting them costs what was dirtied.
//!
//! A base only ever saves work: the digests of a file are the same without one. So whatever is
//! wrong with a base, it is not used, and nothing is said.
//!
//! - The base of memory is the file the machine maps. Its table of digests lies beside it in the
//!   sandbox's directory, linked with it.
//! - The base of a disk is that of the image it was last cloned from or to. Which one that is
//!   stands in the sandbox's directory as a path within the data directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use bhatti_host::files;
use bhatti_host::sums::{self, Sums};

use crate::checkpoint::{self, Depth};
use crate::layout::file;

/// Longest path of an image within the data directory, in bytes.
const MAX_PATH: u64 = 256;

/// A file and its table of digests. The file is held open, so that its blocks stay its own even if
/// it is deleted.
#[derive(Debug)]
pub struct Base {
    file: File,
    sums: Sums,
}

impl Base {
    /// A file with its table beside it; `None` if there are none that fit.
    pub fn beside(path: &Path) -> Option<Self> {
        let file = open(path)?;
        let sums = Sums::read_from(&sums::beside(path), file.metadata().ok()?.len()).ok()?;
        Some(Self { file, sums })
    }

    /// A file of an image that is whole; `None` if there is none, or it has no table.
    pub fn of_image(dir: &Path, name: &str) -> Option<Self> {
        let manifest = checkpoint::verify(dir, Depth::Sizes).ok()?;
        let entry = manifest.files.get(name)?;
        let path = dir.join(name);
        let file = open(&path)?;
        let bytes = sums::read_bytes(&sums::beside(&path), entry.bytes).ok()?;
        if sums::digest(&bytes) != entry.digest {
            return None;
        }
        let sums = Sums::from_bytes(&bytes).ok()?;
        Some(Self { file, sums })
    }
}

fn open(path: &Path) -> Option<File> {
    Some(fs_err::File::open(path).ok()?.into_parts().0)
}

/// The bases of the files of an image, by their names in it.
#[derive(Debug, Default)]
pub struct Bases {
    bases: BTreeMap<String, Base>,
}

impl Bases {
    /// None: everything is read.
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds the base of a file, if there is one.
    #[must_use]
    pub fn with(mut self, name: &str, base: Option<Base>) -> Self {
        if let Some(base) = base {
            self.bases.insert(name.to_owned(), base);
        }
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<(&File, &Sums)> {
        let base = self.bases.get(name)?;
        Some((&base.file, &base.sums))
    }
}

/// Notes in a sandbox's directory which image its disk was last cloned from or to. The note needs
/// neither be durable nor be there at all.
pub(crate) fn note_disk(root: &Path, sandbox: &Path, image: &Path) {
    let noted = match image.strip_prefix(root).ok().and_then(Path::to_str) {
        Some(path) => {
            let (note, new) = (
                sandbox.join(file::DISK_BASE),
                sandbox.join(format!(".{}.new", file::DISK_BASE)),
            );
            fs_err::write(&new, path).and_then(|()| fs_err::rename(&new, &note))
        }
        None => files::remove_file(&sandbox.join(file::DISK_BASE)),
    };
    said(noted);
}

/// Notes of a disk that was cloned from one that lies in `from` what is noted of that one.
pub(crate) fn copy_note(from: &Path, to: &Path) {
    let copied = match files::read_bounded(&from.join(file::DISK_BASE), MAX_PATH) {
        Ok(note) => fs_err::write(to.join(file::DISK_BASE), note),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            files::remove_file(&to.join(file::DISK_BASE))
        }
        Err(error) => Err(error),
    };
    said(copied);
}

/// Forgets what a sandbox's disk was cloned from.
pub(crate) fn forget_disk(sandbox: &Path) {
    said(files::remove_file(&sandbox.join(file::DISK_BASE)));
}

fn said(result: io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "what a disk was cloned from is not known; its next checkpoint takes longer"
        );
    }
}

/// The base of a sandbox's disk.
pub(crate) fn disk(root: &Path, sandbox: &Path) -> Option<Base> {
    disk_as(root, sandbox, file::DISK)
}

/// The base of a disk that has another name in images: a volume's.
pub(crate) fn disk_as(root: &Path, sandbox: &Path, name: &str) -> Option<Base> {
    let bytes = files::read_bounded(&sandbox.join(file::DISK_BASE), MAX_PATH).ok()?;
    let path = PathBuf::from(String::from_utf8(bytes).ok()?);
    let within = path
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    (within && path.components().next().is_some())
        .then(|| Base::of_image(&root.join(path), name))
        .flatten()
}

/// Makes the memory of a whole image what a machine maps: the same file, for it is never written
/// to. Its table is linked behind it and removed before it, so that none lies beside another file.
pub(crate) fn link_memory(image: &Path, sandbox: &Path) -> io::Result<()> {
    remove_memory(sandbox)?;
    let (from, to) = (image.join(file::MEMORY), sandbox.join(file::MEMORY));
    fs_err::hard_link(&from, &to)?;
    match fs_err::hard_link(sums::beside(&from), sums::beside(&to)) {
        // Images of earlier versions have none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        linked => linked,
    }
}

/// Removes what a machine mapped. Success if it is not there.
pub(crate) fn remove_memory(sandbox: &Path) -> io::Result<()> {
    let memory = sandbox.join(file::MEMORY);
    files::remove_file(&sums::beside(&memory))?;
    files::remove_file(&memory)
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::{Base, disk, forget_disk, link_memory, note_disk, remove_memory};
    use crate::checkpoint::test::{image, sealed};
    use crate::checkpoint::{Depth, verify};

    #[test]
    fn the_note_of_a_disk_leads_to_a_whole_image_within_the_data_directory() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let sandbox = root.join("sandboxes/s");
        fs_err::create_dir_all(&sandbox).unwrap();
        assert!(disk(root, &sandbox).is_none());
        fs_err::create_dir(root.join("snapshots")).unwrap();
        let image = image(&root.join("snapshots"), "a", &["state", "mem", "disk.raw"]);
        note_disk(root, &sandbox, &image);
        assert!(disk(root, &sandbox).is_some());

        for note in [
            "../snapshots/a",
            "/snapshots/a",
            "",
            "snapshots/b",
            "\u{0}",
            ".",
        ] {
            fs_err::write(sandbox.join("disk.base"), note).unwrap();
            assert!(disk(root, &sandbox).is_none(), "{note:?}");
        }
        note_disk(root, &sandbox, &image);
        let table = image.join("disk.raw.sums");
        let mut bytes = fs_err::read(&table).unwrap();
        bytes[50] ^= 1;
        fs_err::write(&table, bytes).unwrap();
        assert!(disk(root, &sandbox).is_none());
        note_disk(root, &sandbox, Path::new("/elsewhere"));
        assert!(!sandbox.join("disk.base").exists());
        note_disk(root, &sandbox, &image);
        forget_disk(&sandbox);
        assert!(!sandbox.join("disk.base").exists());
    }

    #[test]
    fn memory_is_linked_and_removed_with_its_table() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = dir.path().join("s");
        fs_err::create_dir(&sandbox).unwrap();
        let image = sealed(dir.path());
        let there = |name: &str| sandbox.join(name).exists();
        for _ in 0..2 {
            link_memory(&image, &sandbox).unwrap();
            assert!(Base::beside(&sandbox.join("mem")).is_some());
        }
        // One of an earlier version.
        fs_err::remove_file(image.join("mem.sums")).unwrap();
        link_memory(&image, &sandbox).unwrap();
        assert!(there("mem") && !there("mem.sums"));
        for _ in 0..2 {
            remove_memory(&sandbox).unwrap();
            assert!(!there("mem") && !there("mem.sums"));
        }
        assert!(Base::beside(Path::new("/nowhere/mem")).is_none());
        verify(&image, Depth::Digests).unwrap_err();
    }
}
