//! Asks the systemd that runs the system.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ChildStdout;
use std::time::{Duration, Instant};

use bhatti_proto::message::{Exec, Variable};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::exec::child::{self, Output};
use crate::exec::kill;
use crate::exec::plan::{self, Defaults};
use crate::reaper::Reaper;

/// There while systemd runs the system (`sd_booted(3)`).
const RUNNING: &str = "run/systemd/system";
/// The most that is taken of what it says, in bytes: some 2,000 timers.
const MAX_OUTPUT: usize = 256 * 1024;
/// What it is told in. Times are then of UTC and words English.
const ENVIRONMENT: [(&str, &str); 3] = [("TZ", "UTC"), ("LC_ALL", "C"), ("SYSTEMD_COLORS", "0")];
/// The pause before it is asked again how it is, while it cannot answer yet.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// Whether systemd runs the system.
pub(crate) fn is_booted(root: &Path) -> bool {
    root.join(RUNNING).is_dir()
}

/// What a program, `systemctl` or another, writes when it is given these arguments. How it ends
/// means nothing.
pub(crate) fn ask(
    root: &Path,
    argv: &[&str],
    reaper: &dyn Reaper,
    deadline: Instant,
) -> Result<String, io::Error> {
    let exec = Exec {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: ENVIRONMENT
            .map(|(name, value)| Variable {
                name: name.to_owned(),
                value: value.to_owned(),
            })
            .to_vec(),
        cwd: Some("/".to_owned()),
        ..Exec::default()
    };
    let refused = |refusal| io::Error::other(format!("cannot run systemctl: {refusal:?}"));
    let plan = plan::plan(&root.join("etc"), &Defaults::default(), &exec).map_err(refused)?;
    let started = child::start(&plan, Output::Pipes, reaper).map_err(refused)?;
    let output = started.stdout.ok_or(io::ErrorKind::BrokenPipe)?;
    let text = read(output, deadline);
    if text.is_err() {
        kill::session(started.pid);
    }
    text
}

/// Waits until the system is up, and gives systemd's word for how it is: `running`, `degraded`, or
/// what it was when the time was over. Blocking.
pub(crate) fn settle(reaper: &dyn Reaper, limit: Duration) -> String {
    let deadline = Instant::now() + limit;
    let mut state = String::new();
    loop {
        let argv = ["systemctl", "is-system-running", "--wait"];
        if let Ok(said) = ask(Path::new("/"), &argv, reaper, deadline) {
            said.trim().clone_into(&mut state);
        }
        // It can't be asked before it has made its socket.
        let is_coming = matches!(
            state.as_str(),
            "" | "initializing" | "starting" | "offline" | "unknown"
        );
        if !is_coming || Instant::now() + ASK_AGAIN > deadline {
            return state;
        }
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "systemd tells of its socket by nothing but answering there"
)]
fn pause() {
    std::thread::sleep(ASK_AGAIN);
}

/// All that is written to a pipe until it is closed.
fn read(mut pipe: ChildStdout, deadline: Instant) -> Result<String, io::Error> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while bytes.len() <= MAX_OUTPUT {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        let readable = match poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], left) {
            Err(Errno::EINTR) => continue,
            other => other?,
        };
        if readable == 0 {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "systemctl did not answer in time",
            ));
        }
        match pipe.read(&mut buffer)? {
            0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::FileTooLarge,
        "systemctl said too much",
    ))
}
