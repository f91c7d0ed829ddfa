//! Settings of the kernel's IPv4 and IPv6, of the namespace that the thread is in. Blocking.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::NetError;

/// Sets one if it differs. `path` is below `/proc/sys/net`.
pub(crate) fn set(path: &str, value: &str) -> Result<(), NetError> {
    let file = file(path);
    let failed = |source| NetError::setting(format!("set {path}"))(source);
    if read(path)?.as_deref() == Some(value) {
        return Ok(());
    }
    // No other process reads half of it: the kernel takes it as a whole.
    fs_err::write(file, value).map_err(failed)
}

/// Sets one if the kernel has it.
pub(crate) fn set_if_there(path: &str, value: &str) -> Result<(), NetError> {
    match read(path)? {
        Some(_) => set(path, value),
        None => Ok(()),
    }
}

/// Reads one; `None` if the kernel does not have it.
pub(crate) fn read(path: &str) -> Result<Option<String>, NetError> {
    match fs_err::read_to_string(file(path)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(NetError::setting(format!("read {path}"))(error)),
    }
}

fn file(path: &str) -> PathBuf {
    Path::new("/proc/sys/net").join(path)
}
