//! A checkpoint's files, as seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use bhatti_api::snapshot::Snapshot;
use bhatti_testing::daemon::Daemon;

/// Where a checkpoint lies.
pub(crate) fn dir(daemon: &Daemon, snapshot: &Snapshot) -> PathBuf {
    daemon.data_dir().join("snapshots").join(&snapshot.id)
}

/// What each file in a directory holds.
pub(crate) fn digests(dir: &Path) -> BTreeMap<String, blake3::Hash> {
    let mut digests = BTreeMap::new();
    for name in names(dir) {
        let mut file = fs_err::File::open(dir.join(&name)).expect("the file is there");
        let mut hasher = blake3::Hasher::new();
        let mut piece = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut piece).expect("the file is read");
            if read == 0 {
                break;
            }
            hasher.update(&piece[..read]);
        }
        digests.insert(name, hasher.finalize());
    }
    assert!(!digests.is_empty(), "{} is empty", dir.display());
    digests
}

/// What is in a directory, which holds no directories itself.
pub(crate) fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs_err::read_dir(dir).expect("the directory is there");
    entries
        .map(|entry| entry.expect("the directory is read").file_name())
        .map(|name| name.into_string().expect("names are of ASCII"))
        .collect()
}
