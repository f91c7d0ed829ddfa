//! Who waits for processes.
//!
//! PID 1 is everybody's last parent and has to wait for all of them at once, which also takes the
//! exit codes of its own children. So there is one place that waits, and it hands each code to
//! whoever started that process.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use bhatti_proto::message::Exited;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::sys;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl Ended {
    /// How it is told to the daemon: one whose end nobody has seen was killed.
    pub(crate) fn told(ended: Option<Self>) -> Exited {
        let (code, signal) = match ended {
            Some(Self::Code(code)) => (Some(code), None),
            Some(Self::Signal(signal)) => (None, Some(signal)),
            None => (None, Some(libc::SIGKILL)),
        };
        Exited {
            code,
            signal,
            timed_out: false,
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or_default()),
        }
    }
}

/// A process that was started.
#[derive(Debug)]
pub struct Started {
    /// Its process id.
    pub pid: u32,
    /// Our end of its standard input, if that is a pipe.
    pub stdin: Option<ChildStdin>,
    /// Our end of its standard output, if that is a pipe.
    pub stdout: Option<ChildStdout>,
    /// Our end of its standard error, if that is a pipe.
    pub stderr: Option<ChildStderr>,
    /// Resolves once it has ended and is reaped.
    pub ended: oneshot::Receiver<Ended>,
}

impl Started {
    fn new(child: &mut Child, ended: oneshot::Receiver<Ended>) -> Self {
        Self {
            pid: child.id(),
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            ended,
        }
    }
}

/// Starts processes and waits for them.
pub trait Reaper: Send + Sync + fmt::Debug {
    /// Starts a process.
    fn start(&self, command: &mut Command) -> io::Result<Started>;
}

/// The reaper of PID 1: waits for every process there is.
#[derive(Debug, Default)]
pub struct InitReaper {
    /// Who waits for which process. Locked while a process is started and while one is waited
    /// for, so that none is reaped before it is known here.
    waiting: Mutex<HashMap<u32, oneshot::Sender<Ended>>>,
}

impl InitReaper {
    /// Reaps for ever. Only one may run, and only in PID 1.
    pub async fn run(&self) -> io::Result<()> {
        let mut children = signal(SignalKind::child())?;
        loop {
            self.reap();
            children.recv().await;
        }
    }

    /// Reaps all that have ended.
    pub fn reap(&self) {
        let mut waiting = self.waiting();
        while let Some((pid, status)) = sys::wait_for_any() {
            if let Some(waiter) = waiting.remove(&pid) {
                // Whoever started it may have lost interest.
                let _ = waiter.send(Ended::from(status));
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u32, oneshot::Sender<Ended>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reaper for InitReaper {
    fn start(&self, command: &mut Command) -> io::Result<Started> {
        let mut waiting = self.waiting();
        let mut child = command.spawn()?;
        let (sender, ended) = oneshot::channel();
        waiting.insert(child.id(), sender);
        Ok(Started::new(&mut child, ended))
    }
}

/// The reaper inside another process: waits for its own children only, each in a thread that
/// ends with it.
#[derive(Debug, Default)]
pub struct ThreadReaper;

impl Reaper for ThreadReaper {
    fn start(&self, command: &mut Command) -> io::Result<Started> {
        let mut child = command.spawn()?;
        let (sender, ended) = oneshot::channel();
        let started = Started::new(&mut child, ended);
        thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || {
                if let Ok(status) = child.wait() {
                    // Whoever started it may have lost interest.
                    let _ = sender.send(Ended::from(status));
                }
            })?;
        Ok(started)
    }
}
