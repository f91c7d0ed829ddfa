//! A checkpoint's files, as seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bhatti_api::snapshot::Snapshot;
use bhatti_host::files::sparse_digest;
use bhatti_testing::daemon::Daemon;

/// Where a checkpoint lies.
pub(crate) fn dir(daemon: &Daemon, snapshot: &Snapshot) -> PathBuf {
    daemon.storage().join("snapshots").join(&snapshot.id)
}

/// What each file in a directory holds.
pub(crate) fn digests(dir: &Path) -> BTreeMap<String, String> {
    let digest = |name: &String| sparse_digest(&dir.join(name)).expect("the file is read");
    let names = names(dir).into_iter();
    let digests: BTreeMap<_, _> = names.map(|name| (name.clone(), digest(&name))).collect();
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
