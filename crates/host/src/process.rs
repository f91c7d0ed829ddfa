//! Processes that outlive the daemon: started, found again, watched, ended.
//!
//! A process is known by its pid and the time it started, so that a pid used again by the kernel
//! is never taken for the process that had it before.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

/// A process of this host, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its pid.
    pub pid: u32,
    /// When it started, in clock ticks after the boot (field 22 of `/proc/PID/stat`).
    pub start_time: u64,
}

/// Clock ticks in a second: `USER_HZ`, the same on all of Linux's architectures that matter here.
const TICKS: u64 = 100;

/// What a process has used of the processor so far, its threads together (fields 14 and 15 of
/// `/proc/PID/stat`).
pub fn cpu_time(id: ProcessId) -> io::Result<Duration> {
    let stat = stat(id.pid)?;
    if stat.start_time != id.start_time {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(Duration::from_millis(stat.cpu_ticks * (1000 / TICKS)))
}

/// A program to be started on its own.
#[derive(Debug, Clone)]
pub struct Detached {
    /// The program: a name looked up on [`crate::command::PATH`], or a path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its working directory.
    pub dir: PathBuf,
    /// The file its standard output and error are appended to.
    pub log: PathBuf,
    /// Its standard input; empty if `None`.
    pub stdin: Option<Arc<OwnedFd>>,
}

/// A process being watched through a pidfd.
#[derive(Debug)]
pub struct Process {
    id: ProcessId,
    pidfd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Starts a program in a process group of its own, with an empty environment. It lives on when the daemon ends.
    pub fn start(detached: &Detached) -> io::Result<Self> {
        fs_err::metadata(&detached.dir).map_err(io::Error::other)?;
        let log = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&detached.log)?;
        let log = log.into_file();
        let stdin = match &detached.stdin {
            Some(stdin) => Stdio::from(stdin.try_clone()?),
            None => Stdio::null(),
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that starts what is not to be waited for"
        )]
        let mut command = std::process::Command::new(&detached.program);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command
            .args(&detached.args)
            .env_clear()
            .env("PATH", crate::command::PATH)
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&detached.dir)
            .stdin(stdin)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pid = child.id();
        let id = ProcessId {
            pid,
            start_time: start_time(pid)?,
        };
        Self::watch(id)?.ok_or_else(|| io::Error::other("the process was gone at once"))
    }

    /// Takes up a process known from before; `None` if it is gone.
    pub fn adopt(id: ProcessId) -> io::Result<Option<Self>> {
        Self::watch(id)
    }

    fn watch(id: ProcessId) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(id.pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        // Only now is it certain which process the pidfd holds: the start time is read after it
        // was opened, and a pid is not used again while the pidfd's process is unreaped.
        match start_time(id.pid) {
            Ok(start) if start == id.start_time => Ok(Some(Self {
                id,
                pidfd: watch_fd(pidfd)?,
            })),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Which process it is.
    pub fn id(&self) -> ProcessId {
        self.id
    }

    /// Waits for the end of the process, and reaps it if it is a child of this one.
    /// Cancel-safe; may be called again after the end.
    pub async fn ended(&self) {
        // A pidfd is readable once, and for ever after, its process has ended. An error of the
        // reactor itself leaves only polling the table of processes.
        if self.pidfd.readable().await.is_err() {
            while is_alive(self.id) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        self.reap();
    }

    /// Whether it has ended. Does not wait.
    pub fn has_ended(&self) -> bool {
        let mut fds = [rustix::event::PollFd::new(
            self.pidfd.get_ref(),
            rustix::event::PollFlags::IN,
        )];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(n) if n > 0)
    }

    fn reap(&self) {
        // ECHILD when it was started by an earlier daemon: then init reaps it.
        let _ = rustix::process::waitid(
            rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(self.pidfd.get_ref())),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOHANG,
        );
    }

    /// Ends it at once (SIGKILL) and waits until it is gone. Success if it was gone already.
    pub async fn kill(&self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.ended().await;
        Ok(())
    }
}

/// Gives a pidfd to the reactor.
#[expect(unsafe_code, reason = "the reactor keeps a raw descriptor")]
fn watch_fd(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: `AsyncFd` owns the `OwnedFd` from here on, and `as_raw_fd` of an `OwnedFd` gives
    // the same open descriptor until it is dropped, which happens after its deregistration.
    let watched = unsafe { AsyncFd::register(pidfd) };
    watched.map_err(Into::into)
}

/// Whether a process known from before still lives (a zombie does not).
pub fn is_alive(id: ProcessId) -> bool {
    matches!(stat(id.pid), Ok(stat) if stat.start_time == id.start_time && stat.state != 'Z')
}

/// A process found by its command line.
#[derive(Debug, Clone)]
pub struct Marked {
    /// Which it is.
    pub id: ProcessId,
    /// Its command line.
    pub args: Vec<String>,
    /// Its working directory, links resolved.
    pub dir: PathBuf,
}

/// Processes whose command line holds `marker` as a part of one of its arguments. Blocking.
///
/// Used to find what an earlier daemon started and had no time to write down.
pub fn find_by_argument(marker: &str) -> io::Result<Vec<Marked>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // A process may end between any two of these lines; then it is not there.
        let proc = Path::new("/proc").join(pid.to_string());
        let Ok(cmdline) = fs_err::read(proc.join("cmdline")) else {
            continue;
        };
        let args: Vec<String> = cmdline
            .split(|byte| *byte == 0)
            .map(|arg| String::from_utf8_lossy(arg).into_owned())
            .collect();
        if args.iter().any(|arg| arg.contains(marker))
            && let Ok(dir) = fs_err::read_link(proc.join("cwd"))
            && let Ok(start_time) = start_time(pid)
        {
            found.push(Marked {
                id: ProcessId { pid, start_time },
                args,
                dir,
            });
        }
    }
    Ok(found)
}

struct Stat {
    /// Use of the processor, in clock ticks.
    cpu_ticks: u64,
    state: char,
    start_time: u64,
}

fn start_time(pid: u32) -> io::Result<u64> {
    Ok(stat(pid)?.start_time)
}

fn stat(pid: u32) -> io::Result<Stat> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected /proc/PID/stat"))
}

/// Reads fields 3, 14, 15 and 22 of `/proc/PID/stat`. The second field is the program's name in
/// parentheses and may hold anything, so the fields are counted from the last parenthesis.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let user: u64 = fields.nth(10)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let start_time = fields.nth(6)?.parse().ok()?;
    Some(Stat {
        state,
        cpu_ticks: user + system,
        start_time,
    })
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use super::{Detached, Process, ProcessId, find_by_argument, is_alive, parse_stat};

    fn sleeper(dir: &std::path::Path, marker: &str) -> Detached {
        Detached {
            // Of one process: a shell's child has its parent's arguments for a moment.
            program: "sleep".into(),
            args: ["60", marker].map(Into::into).to_vec(),
            dir: dir.to_owned(),
            log: dir.join("log"),
            stdin: None,
        }
    }

    #[tokio::test]
    async fn a_process_is_found_adopted_and_ended() {
        let dir = tempfile::tempdir().unwrap();
        let marker = format!("0.00{}", std::process::id());
        let process = Process::start(&sleeper(dir.path(), &marker)).unwrap();
        // The marker shows once the program has been executed.
        let found = loop {
            let found = find_by_argument(&marker).unwrap();
            if !found.is_empty() {
                break found;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, process.id());
        assert_eq!(found[0].dir, fs_err::canonicalize(dir.path()).unwrap());
        let adopted = Process::adopt(process.id()).unwrap().unwrap();
        assert!(!adopted.has_ended());
        adopted.kill().await.unwrap();
        tokio::time::timeout(Duration::from_secs(10), process.ended())
            .await
            .unwrap();
        assert!(!is_alive(process.id()));
        assert!(process.has_ended());
        process.kill().await.unwrap();
        assert!(Process::adopt(process.id()).unwrap().is_none());
    }

    #[tokio::test]
    async fn a_pid_used_again_is_not_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let process = Process::start(&sleeper(dir.path(), "0.1")).unwrap();
        let other = ProcessId {
            start_time: process.id().start_time + 1,
            ..process.id()
        };
        assert!(Process::adopt(other).unwrap().is_none());
        process.kill().await.unwrap();
    }

    #[test]
    fn a_program_name_with_spaces_and_parentheses_does_not_confuse() {
        let text = "42 (a) b (c) S 1 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 777 1 1";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.state, stat.start_time), ('S', 777));
        assert!(parse_stat("garbage").is_none());
    }
}
