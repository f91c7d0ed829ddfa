//! The kernel's end of a terminal (`pty(7)`).

#![expect(unsafe_code, reason = "terminals are made by ioctls")]

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use bhatti_proto::terminal::Size;
use nix::unistd::{Gid, Uid, fchown};
use tokio::io::unix::AsyncFd;

/// Largest size taken over: a terminal of a wall.
const MAX_SIDE: u32 = 4096;
/// The size of a terminal of which none is given.
const USUAL: Size = Size { rows: 24, cols: 80 };

/// The end that keys are written to and output is read from.
#[derive(Debug)]
pub(crate) struct Pty {
    file: AsyncFd<File>,
}

impl Pty {
    /// Makes a terminal, and gives the program's end of it, which belongs to `owner`. Needs a tokio
    /// runtime with I/O.
    pub(crate) fn open(size: Option<Size>, owner: u32) -> io::Result<(Self, OwnedFd)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open("/dev/ptmx")?;
        let unlock: libc::c_int = 0;
        // SAFETY: the operation reads an int, which lives through the call.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock) })?;
        let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
        // SAFETY: the operation takes flags by value and gives a descriptor that is nobody's yet.
        let end = check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
        // SAFETY: as above.
        let end = unsafe { OwnedFd::from_raw_fd(end) };
        if nix::unistd::geteuid().is_root() {
            fchown(end.as_fd(), Some(Uid::from_raw(owner)), None::<Gid>)?;
        }
        // SAFETY: the descriptor is open, is owned by the `File` that moves into the `AsyncFd`, and
        // nothing here replaces or closes it before that is dropped.
        let pty = Self {
            file: unsafe { AsyncFd::register(file) }?,
        };
        pty.resize(size.unwrap_or(USUAL))?;
        Ok((pty, end))
    }

    /// Gives it another size; its program is told.
    pub(crate) fn resize(&self, size: Size) -> io::Result<()> {
        let side = |side: u32, usual: u32| match side {
            0 => usual as u16,
            side => side.min(MAX_SIDE) as u16,
        };
        let size = libc::winsize {
            ws_row: side(size.rows, USUAL.rows),
            ws_col: side(size.cols, USUAL.cols),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let file = self.file.get_ref().as_raw_fd();
        // SAFETY: the operation reads a `winsize`, which lives through the call.
        check(unsafe { libc::ioctl(file, libc::TIOCSWINSZ, &raw const size) })?;
        Ok(())
    }

    /// What its program wrote, waiting until it did; empty once nobody has the other end open.
    /// Cancel-safe.
    pub(crate) async fn read(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut ready = self.file.readable().await?;
            let mut buffer = vec![0; bhatti_proto::codec::MAX_CHUNK];
            match ready.try_io(|file| file.get_ref().read(&mut buffer)) {
                Ok(Ok(read)) => {
                    buffer.truncate(read);
                    return Ok(buffer);
                }
                // How the kernel says that the other end is closed.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Ok(Vec::new()),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }

    /// Passes keys on; waits while the program does not read. Not cancel-safe.
    pub(crate) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.file.writable().await?;
            match ready.try_io(|file| file.get_ref().write(bytes)) {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(Ok(written)) => bytes = &bytes[written..],
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
        Ok(())
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
