//! Grows a mounted file system to the size of its disk.

#![expect(unsafe_code, reason = "ioctls take C structures")]

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use nix::sys::statfs::{EXT4_SUPER_MAGIC, statfs};

/// `EXT4_IOC_RESIZE_FS`, `_IOW('f', 16, __u64)`, of the kernel's `fs/ext4/ext4.h`: the new number
/// of blocks. Resizes online, as `resize2fs` does it.
const EXT4_RESIZE: u64 = 0x4008_6610;

/// Grows an ext4 root to its disk; another file system, and one that fills its disk, is left.
pub fn root(disk: &Path) -> io::Result<()> {
    mounted(Path::new("/"), disk)
}

/// The same of what is mounted at a path.
pub fn mounted(at: &Path, disk: &Path) -> io::Result<()> {
    let found = statfs(at)?;
    if found.filesystem_type() != EXT4_SUPER_MAGIC {
        return Ok(());
    }
    let bytes = File::open(disk)?.seek(SeekFrom::End(0))?;
    let block = u64::try_from(found.block_size()).map_err(io::Error::other)?;
    let blocks = bytes / block.max(1);
    // The overhead of the file system is not among its blocks here, so it may seem to have room
    // to grow when it has not; the kernel then finds nothing to do.
    if blocks <= found.blocks() {
        return Ok(());
    }
    let at = File::open(at)?;
    // SAFETY: the operation reads a 64-bit number, which lives through the call.
    let result = unsafe { libc::ioctl(at.as_raw_fd(), EXT4_RESIZE as _, &raw const blocks) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
