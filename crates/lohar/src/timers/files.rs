//! Reading files that anybody in the guest may have made into anything.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Entries of a directory that are looked at.
pub(crate) const MAX_ENTRIES: usize = 1024;

/// An ordinary file's text up to a limit, what is not UTF-8 replaced; `None` if there is none or
/// it is too long to be meant seriously.
pub(crate) fn text(path: &Path, limit: u64) -> Option<String> {
    let bytes = bytes(path, limit)?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// An ordinary file's bytes; `None` if there is none, or it is longer than the limit.
pub(crate) fn bytes(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let file = open(path).ok()?;
    // The files of `/proc` are ordinary ones of no size: only reading tells.
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limit).then_some(bytes)
}

/// Opens an ordinary file. A FIFO or a device must not hold the agent up.
fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

/// The names in a directory that are UTF-8, as far as they are looked at; none if there is no
/// such directory.
pub(crate) fn names(dir: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries
        .take(MAX_ENTRIES)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

#[cfg(test)]
mod test {
    use nix::sys::stat::Mode;

    use super::{names, text};

    #[test]
    fn only_ordinary_files_of_ordinary_length_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs_err::write(path("good"), b"a\xff").unwrap();
        nix::unistd::mkfifo(&path("fifo"), Mode::S_IRUSR).unwrap();
        fs_err::os::unix::fs::symlink(path("good"), path("link")).unwrap();
        assert_eq!(text(&path("good"), 2).unwrap(), "a\u{fffd}");
        assert_eq!(text(&path("link"), 2).unwrap(), "a\u{fffd}");
        assert_eq!(text(&path("good"), 1), None);
        assert_eq!(text(&path("fifo"), 9), None);
        assert_eq!(text(dir.path(), 9), None);
        assert_eq!(text(&path("none"), 9), None);
        assert_eq!(names(dir.path()).count(), 3);
        assert_eq!(names(&path("none")).count(), 0);
    }
}
