//! The virtio-serial port that leads to the daemon.
//!
//! Its driver says that it is readable and hung up for as long as nobody is connected on the
//! host, and tokio keeps a hang-up for good once it has seen one. So tokio watches an epoll
//! instance of ours instead, in which the port is registered edge-triggered: each change wakes us
//! once, and what the port really has to say its own `read` tells.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep_until};

use crate::sys::{self, EpollFd};

/// The name of the agent's port, given by the daemon on the VMM's command line.
pub const NAME: &str = "org.bhatti.agent";
/// Where the kernel lists its ports.
const PORTS: &str = "/sys/class/virtio-ports";
/// How long the port may take to appear: its driver was loaded just before.
const APPEAR_LIMIT: Duration = Duration::from_secs(10);
/// The pause between two looks for it.
const APPEAR_PAUSE: Duration = Duration::from_millis(2);

/// The open port. To be used by one task: it remembers one waker.
#[derive(Debug)]
pub struct Port {
    file: File,
    edges: AsyncFd<EpollFd>,
    /// The end of the stream has been told of, and nothing was read since.
    told_end: bool,
}

impl Port {
    /// Waits for the agent's port to appear and opens it. Needs a tokio runtime with I/O.
    pub async fn open() -> io::Result<Self> {
        let end = Instant::now() + APPEAR_LIMIT;
        loop {
            if let Some(path) = find(Path::new(PORTS), NAME) {
                match Self::at(&path) {
                    // The device node may come a moment after its name.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => return other,
                }
            }
            if Instant::now() > end {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("there is no port {NAME}"),
                ));
            }
            sleep_until(Instant::now() + APPEAR_PAUSE).await;
        }
    }

    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&file, EpollEvent::new(flags, 0))?;
        Ok(Self {
            file,
            edges: sys::watch_epoll(epoll)?,
            told_end: false,
        })
    }

    /// Tries an operation until it does not have to wait.
    fn poll_io(
        &mut self,
        cx: &mut Context<'_>,
        mut operation: impl FnMut(&mut File) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match operation(&mut self.file) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => return Poll::Ready(other),
            }
            ready!(self.poll_edge(cx))?;
        }
    }

    /// Waits for a change. One that was before is told of as well, so an operation must be tried
    /// after each.
    fn poll_edge(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = ready!(self.edges.poll_read_ready(cx))?;
        let mut events = [EpollEvent::empty()];
        match guard
            .get_inner()
            .epoll()
            .wait(&mut events, EpollTimeout::ZERO)
        {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Poll::Ready(Err(errno.into())),
        }
        guard.clear_ready();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Port {
    /// Gives the end of the stream once each time the host goes away, and then waits for it.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let told_end = this.told_end;
        let target = buf.initialize_unfilled();
        let read = ready!(this.poll_io(cx, |file| match file.read(target) {
            // Nobody is connected on the host.
            Ok(0) if told_end => Err(io::ErrorKind::WouldBlock.into()),
            other => other,
        }))?;
        this.told_end = read == 0;
        buf.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Port {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_io(cx, |file| file.write(buf))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The device of the port that has this name.
fn find(ports: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(ports).ok()?.flatten().find_map(|entry| {
        let found = fs::read_to_string(entry.path().join("name")).ok()?;
        (found.trim() == name).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::find;

    #[test]
    fn the_port_is_found_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        for (port, name) in [
            ("vport0p1", "org.other\n"),
            ("vport1p2", "org.bhatti.agent\n"),
        ] {
            std::fs::create_dir(dir.path().join(port)).unwrap();
            fs_err::write(dir.path().join(port).join("name"), name).unwrap();
        }
        let found = find(dir.path(), super::NAME).unwrap();
        assert_eq!(found, Path::new("/dev/vport1p2"));
        assert!(find(dir.path(), "org.none").is_none());
    }
}
