//! System calls whose safe wrappers know only the signals that have names.
//!
//! A process may die of a real-time signal, and nix's `waitpid` then fails after it has reaped
//! it: the exit would be lost. Also what is unsafe about watching an epoll instance.

#![expect(unsafe_code, reason = "waitpid, kill and FIONREAD are plain C calls")]

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use nix::sys::epoll::Epoll;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Highest signal number of Linux.
pub(crate) const MAX_SIGNAL: i32 = 64;

/// Reaps one child that has ended, if there is one.
pub(crate) fn wait_for_any() -> Option<(u32, ExitStatus)> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is an int that lives through the call.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match pid {
            1.. => return Some((pid as u32, ExitStatus::from_raw(status))),
            0 => return None,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            // ECHILD: there are no children.
            _ => return None,
        }
    }
}

/// Sends a signal to a process. One that is gone is no error.
pub(crate) fn kill(pid: u32, signal: i32) {
    send(pid as i32, signal);
}

/// Sends a signal to a process group. One that is gone is no error.
pub(crate) fn kill_group(leader: u32, signal: i32) {
    send(-(leader as i32), signal);
}

fn send(pid: i32, signal: i32) {
    // -1 would be everybody, 0 the own group.
    if !(-1..=1).contains(&pid) {
        // SAFETY: takes two numbers and touches no memory.
        unsafe { libc::kill(pid, signal) };
    }
}

/// Sends a signal to process 1.
pub(crate) fn kill_init(signal: i32) {
    // SAFETY: takes two numbers and touches no memory.
    unsafe { libc::kill(1, signal) };
}

/// How many bytes a pipe holds.
pub(crate) fn bytes_in(pipe: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes an int, which lives through the call.
    let result = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(count as usize)
    }
}

/// An epoll instance that tokio can watch.
#[derive(Debug)]
pub(crate) struct EpollFd(Epoll);

impl EpollFd {
    pub(crate) fn epoll(&self) -> &Epoll {
        &self.0
    }
}

impl AsRawFd for EpollFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_fd().as_raw_fd()
    }
}

/// Watches an epoll instance for being readable, which it is when it has an event. Needs a tokio
/// runtime with I/O.
pub(crate) fn watch_epoll(epoll: Epoll) -> io::Result<AsyncFd<EpollFd>> {
    // SAFETY: the descriptor is open, is owned by the `Epoll` that moves into the `AsyncFd`, and
    // nothing here replaces or closes it before that is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(EpollFd(epoll), Interest::READABLE) };
    Ok(watched?)
}
