//! What a case stands on: its directory, and what is done to it from outside.

use std::collections::BTreeSet;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bhatti_lifecycle::state::State;
use bhatti_store::store::Store;
use bhatti_types::id::SandboxId;

use crate::expect;
use crate::found::state;

/// In memory where that can be: nothing here is about disks that are slow.
pub(crate) fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("bhatti-model-");
    let made = builder.tempdir_in(memory).or_else(|_| builder.tempdir());
    made.expect("a temporary directory can be made")
}

/// What is wrong with letting the vCPUs of a sandbox run, by its record.
pub(crate) fn may_run(
    records: &Store,
    seen: &Mutex<BTreeSet<SandboxId>>,
    id: &SandboxId,
) -> Option<String> {
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    match records.sandbox_get(id) {
        Ok(Some(row)) => {
            seen.insert(id.clone());
            match state(&row) {
                // A machine that is there goes on from its own memory.
                State::Creating | State::Hot | State::Warm | State::Failed => None,
                other => Some(format!("its record says {other:?}")),
            }
        }
        // What a template or a clone in stock is made of.
        Ok(None) if !seen.contains(id) => None,
        Ok(None) => Some("its record is gone".to_owned()),
        Err(error) => Some(expect::chain(&error)),
    }
}

/// Flips a bit at the beginning of a file, and of no other link to it.
pub(crate) fn flip(path: &Path) {
    let aside = path.with_extension("flipped");
    let flip = || {
        bhatti_host::files::clone_file(path, &aside)?;
        let options = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&aside);
        let file = options?;
        let mut byte = [0];
        file.file().read_exact_at(&mut byte, 1)?;
        byte[0] ^= 4;
        file.file().write_all_at(&byte, 1)?;
        fs_err::rename(&aside, path)
    };
    flip().expect("the file can be changed");
}
