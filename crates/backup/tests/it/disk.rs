//! Disks to back up.

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bhatti_backup::format::CHUNK;

/// A disk with data here and there, and its bytes.
pub(crate) fn make(dir: &Path, name: &str, seed: u8) -> PathBuf {
    let path = dir.join(name);
    let (file, _) = fs_err::File::create(&path).unwrap().into_parts();
    // The last chunk is a short one.
    file.set_len(9 * CHUNK + 5000).unwrap();
    for (number, byte) in [(0, 1u8), (1, 1), (4, 2), (9, 3)] {
        write(&path, number, byte ^ seed);
    }
    path
}

/// Writes into a chunk.
pub(crate) fn write(path: &Path, chunk: u64, byte: u8) {
    let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
    let bytes: Vec<u8> = (0..4096u32).map(|at| byte.wrapping_add(at as u8)).collect();
    file.file()
        .write_all_at(&bytes, chunk * CHUNK + 100)
        .unwrap();
}

/// Asserts that two disks hold the same.
pub(crate) fn assert_same(a: &Path, b: &Path) {
    assert!(
        fs_err::read(a).unwrap() == fs_err::read(b).unwrap(),
        "{} and {} differ",
        a.display(),
        b.display()
    );
}
