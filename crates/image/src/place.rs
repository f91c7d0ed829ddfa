//! Puts finished directories in place, all at once.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bhatti_host::files;
use rustix::fs::{CWD, RenameFlags};

/// Directories whose names begin so are half-made and belong to whoever makes them.
pub(crate) const HALF_MADE: &str = ".tmp-";

/// Makes a directory for something half-made beside where it will be; it goes away when dropped.
pub(crate) fn half_made(parent: &Path) -> io::Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix(HALF_MADE)
        .tempdir_in(parent)
}

/// Copies the named files of a directory to a new directory `to`, replacing one that is there,
/// and makes it durable.
///
/// The files are hard links where both are on one file system, else reflinks, else copies with
/// the holes kept; whatever they are, they are made read-only, for links share them.
pub(crate) fn install_dir(from: &Path, to: &Path, names: &[&str]) -> io::Result<()> {
    let parent = to.parent().unwrap_or(Path::new("."));
    let half_made = half_made(parent)?;
    for name in names {
        let (source, target) = (from.join(name), half_made.path().join(name));
        if fs_err::hard_link(&source, &target).is_err() {
            files::clone_file(&source, &target)?;
        }
        make_read_only(&target)?;
        files::sync_file(&target)?;
    }
    settle(half_made, to)
}

/// Takes the right to write to a file from everybody.
pub(crate) fn make_read_only(path: &Path) -> io::Result<()> {
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o444))
}

/// Renames a half-made directory to its place, where nothing may be: an error of the kind
/// `AlreadyExists` otherwise.
pub(crate) fn settle_new(half_made: tempfile::TempDir, to: &Path) -> io::Result<()> {
    fs_err::set_permissions(half_made.path(), std::fs::Permissions::from_mode(0o755))?;
    files::sync_dir(half_made.path())?;
    rustix::fs::renameat_with(CWD, half_made.path(), CWD, to, RenameFlags::NOREPLACE)?;
    // It is not there any more.
    let _ = half_made.keep();
    files::sync_dir(to.parent().unwrap_or(Path::new(".")))
}

/// Renames a half-made directory to its place. What was there before is deleted.
pub(crate) fn settle(half_made: tempfile::TempDir, to: &Path) -> io::Result<()> {
    // Temporary directories are private to their maker; what is in place is for all to read.
    fs_err::set_permissions(half_made.path(), std::fs::Permissions::from_mode(0o755))?;
    files::sync_dir(half_made.path())?;
    if to.exists() {
        // The old content is then in the temporary directory, and goes with it.
        rustix::fs::renameat_with(CWD, half_made.path(), CWD, to, RenameFlags::EXCHANGE)?;
        files::sync_dir(to.parent().unwrap_or(Path::new(".")))?;
        half_made.close()
    } else {
        let path = half_made.keep();
        files::rename_durable(&path, to).inspect_err(|_| {
            // The error that counts is the one of the rename.
            let _ = files::remove_tree(&path);
        })
    }
}

/// The finished directories below one, sorted by name.
pub(crate) fn finished_dirs(parent: &Path) -> io::Result<Vec<PathBuf>> {
    dirs(parent, |name| !name.starts_with('.'))
}

/// The directories below one whose names are wanted, sorted by name.
pub(crate) fn dirs(parent: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for entry in fs_err::read_dir(parent)? {
        let entry = entry?;
        if wanted(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_dir() {
            dirs.push(entry.path());
        }
    }
    dirs.sort();
    Ok(dirs)
}

#[cfg(test)]
mod test {
    use super::{dirs, install_dir};

    #[test]
    fn a_directory_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs_err::create_dir(&from).unwrap();
        fs_err::write(from.join("a"), "new").unwrap();
        fs_err::create_dir(&to).unwrap();
        fs_err::write(to.join("old"), "old").unwrap();
        install_dir(&from, &to, &["a"]).unwrap();
        assert_eq!(fs_err::read(to.join("a")).unwrap(), b"new");
        assert!(!to.join("old").exists());
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_failed_installation_leaves_the_old_and_no_rest() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs_err::create_dir(&from).unwrap();
        fs_err::create_dir(&to).unwrap();
        install_dir(&from, &to, &["missing"]).unwrap_err();
        assert_eq!(
            dirs(dir.path(), |name| !name.starts_with('.')).unwrap(),
            [from, to]
        );
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 2);
    }
}
