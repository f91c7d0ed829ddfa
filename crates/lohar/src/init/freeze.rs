//! Holds all writes to a mounted file system, and lets them go on: `FIFREEZE` and `FITHAW`.

#![expect(unsafe_code, reason = "ioctls are plain C calls")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// `FIFREEZE`, `_IOWR('X', 119, int)`, of the kernel's `linux/fs.h`.
const FIFREEZE: u64 = 0xc004_5877;
/// `FITHAW`, `_IOWR('X', 120, int)`.
const FITHAW: u64 = 0xc004_5878;

/// Writes what is dirty out and holds all further writes, with the journal empty. An error of the
/// kind `ResourceBusy` if it is frozen already.
pub fn freeze(mount: &Path) -> io::Result<()> {
    control(mount, FIFREEZE)
}

/// Lets writes go on. Success if they are not held.
pub fn thaw(mount: &Path) -> io::Result<()> {
    match control(mount, FITHAW) {
        // Of what is not frozen.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

fn control(mount: &Path, operation: u64) -> io::Result<()> {
    // Opening a directory for reading writes nothing, and so does not wait on a frozen one.
    let root = File::open(mount)?;
    // SAFETY: both operations take no argument that they look at, and touch no memory of ours.
    let result = unsafe { libc::ioctl(root.as_raw_fd(), operation as _, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
