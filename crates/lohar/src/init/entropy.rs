//! Gives the kernel randomness of the host's.
//!
//! A copy of a machine has its original's random generator. Until it is reseeded both make the
//! same numbers, so this comes before anything else that a copy is told.

#![expect(unsafe_code, reason = "ioctls take C structures")]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd as _;

/// `RNDADDENTROPY` and `RNDRESEEDCRNG` of `<linux/random.h>`.
const RND_ADD_ENTROPY: u64 = 0x4008_5203;
const RND_RESEED_CRNG: u64 = 0x5207;
/// Most bytes taken at once.
const MAX: usize = 512;

/// `struct rand_pool_info`, with room for [`MAX`] bytes.
#[repr(C)]
struct PoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; MAX],
}

/// Mixes bytes into the kernel's pool, counts them as fully random, and reseeds the generator
/// that `/dev/urandom` and `getrandom` read from.
pub fn add(bytes: &[u8]) -> io::Result<()> {
    let random = OpenOptions::new().write(true).open("/dev/random")?;
    for part in bytes.chunks(MAX) {
        let mut info = PoolInfo {
            entropy_count: part.len() as i32 * 8,
            buf_size: part.len() as i32,
            buf: [0; MAX],
        };
        info.buf[..part.len()].copy_from_slice(part);
        // SAFETY: the operation reads a `rand_pool_info` with `buf_size` bytes behind its head,
        // which `info` has.
        check(unsafe { libc::ioctl(random.as_raw_fd(), RND_ADD_ENTROPY as _, &raw const info) })?;
    }
    // SAFETY: the operation takes no argument.
    check(unsafe { libc::ioctl(random.as_raw_fd(), RND_RESEED_CRNG as _) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
