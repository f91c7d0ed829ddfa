//! Has a mounted file system stand still on its disk, and go on.

#![expect(unsafe_code, reason = "ioctls are plain C calls")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// `FIFREEZE`, `_IOWR('X', 119, int)`, of the kernel's `linux/fs.h`.
const FREEZE: u64 = 0xc004_5877;
/// `FITHAW`, `_IOWR('X', 120, int)`.
const THAW: u64 = 0xc004_5878;

/// Has the file system at a path write out all it holds, and blocks whoever writes to it.
pub(crate) fn freeze(at: &Path) -> io::Result<()> {
    control(at, FREEZE)
}

/// Lets it go on. `InvalidInput` if it does not stand still.
pub(crate) fn thaw(at: &Path) -> io::Result<()> {
    control(at, THAW)
}

#[expect(
    clippy::disallowed_methods,
    reason = "opened for its file system; the agent carries no fs-err"
)]
fn control(at: &Path, operation: u64) -> io::Result<()> {
    let at = File::open(at)?;
    // SAFETY: neither operation looks at its argument, whatever its number says.
    let result = unsafe { libc::ioctl(at.as_raw_fd(), operation as _, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
