//! Commands of a fake guest: they are no processes.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lohar::reaper::{Reaper, Started};
use tokio::sync::oneshot;

use super::guest::{self, Guest};

/// Above every pid that Linux gives (`PID_MAX_LIMIT`, 2^22): a signal to it meets nobody.
const FIRST_PID: u32 = 1 << 30;

/// Has a guest do commands.
#[derive(Debug)]
pub(super) struct FakeReaper {
    guest: Arc<Guest>,
    next: AtomicU32,
}

impl FakeReaper {
    pub(super) fn new(guest: Arc<Guest>) -> Self {
        Self {
            guest,
            next: AtomicU32::new(FIRST_PID),
        }
    }
}

impl Reaper for FakeReaper {
    fn start(&self, command: &mut std::process::Command) -> io::Result<Started> {
        let arguments: Vec<&OsStr> = command.get_args().collect();
        let script = match arguments[..] {
            [flag, script] if flag == "-c" => script.to_string_lossy().into_owned(),
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let (reader, stdout) = io::pipe()?;
        let (sender, ended) = oneshot::channel();
        self.guest.command(guest::Command {
            script,
            stdout,
            ended: sender,
        });
        Ok(Started {
            pid: self.next.fetch_add(1, Ordering::Relaxed),
            stdin: None,
            stdout: Some(OwnedFd::from(reader).into()),
            stderr: None,
            ended,
        })
    }
}
