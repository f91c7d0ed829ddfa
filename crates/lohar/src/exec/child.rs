//! Starting a planned command.
//!
//! Between fork and exec the child makes system calls only, on memory that was made ready before:
//! the agent may run inside a process with other threads, and then nothing else is safe.

#![expect(unsafe_code, reason = "what a child does between fork and exec is C")]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use bhatti_proto::message::RefusalKind;

use super::lookup;
use super::plan::{Plan, bad_cwd};
use super::refusal::Refusal;
use crate::reaper::{Reaper, Started};

/// Where the output of a command goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output<'a> {
    /// To us.
    Pipes,
    /// To a terminal, with its input, which becomes the command's controlling one.
    Terminal(&'a OwnedFd),
    /// To a file, opened as the command's user.
    File { path: &'a Path, how: FileMode },
}

/// How an output file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileMode {
    /// It must not be there.
    New,
    /// What is there is overwritten, but no symbolic link is followed.
    Overwrite,
}

/// Steps of the child that fail with errors of their own, told apart by a bit above all of
/// Linux's error numbers (at most 4095). The number comes back through `std`'s own pipe.
const STEP_USER: i32 = 1 << 16;
const STEP_CWD: i32 = 1 << 17;
const STEP_OUTPUT: i32 = 1 << 18;
const ERRNO: i32 = STEP_USER - 1;

/// Starts a command, as its user, in its directory, as the leader of a session of its own.
pub(crate) fn start(
    plan: &Plan,
    output: Output<'_>,
    reaper: &dyn Reaper,
) -> Result<Started, Refusal> {
    let mut command = command(plan);
    let prepared = Prepared::new(plan, output)?;
    match output {
        Output::Pipes => {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        Output::File { .. } | Output::Terminal(_) => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
    }
    command.stdin(if plan.stdin && !matches!(output, Output::Terminal(_)) {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    // SAFETY: the closure allocates nothing, takes no lock and calls async-signal-safe functions
    // only; all it needs was made before.
    unsafe {
        command.pre_exec(move || prepared.enter());
    }
    reaper
        .start(&mut command)
        .map_err(|error| refusal(plan, output, &error))
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the guest's own way of running the guest's programs"
)]
fn command(plan: &Plan) -> Command {
    let mut command = Command::new(&plan.program);
    if let Some((zeroth, rest)) = plan.argv.split_first() {
        command.arg0(zeroth).args(rest);
    }
    command.env_clear().envs(&plan.env);
    command
}

/// All that the child needs, so that it allocates nothing.
struct Prepared {
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups: Vec<libc::gid_t>,
    /// `None` if the agent is no root and the command its own user's.
    change_user: bool,
    cwd: CString,
    file: Option<(CString, libc::c_int)>,
    /// The program's end of a terminal; open until the child has been started.
    terminal: Option<RawFd>,
    /// The agent is protected from a lack of memory, which commands must not be.
    expose: bool,
}

/// Where a process says how readily it is ended for a lack of memory (`proc_pid_oom_score_adj(5)`).
const OOM_SCORE: &std::ffi::CStr = c"/proc/self/oom_score_adj";

/// Whether this process is protected. It is so from its start, or never.
fn is_protected() -> bool {
    static PROTECTED: OnceLock<bool> = OnceLock::new();
    *PROTECTED.get_or_init(|| {
        let score = std::fs::read_to_string("/proc/self/oom_score_adj");
        score.is_ok_and(|score| score.trim_start().starts_with('-'))
    })
}

impl Prepared {
    fn new(plan: &Plan, output: Output<'_>) -> Result<Self, Refusal> {
        let c_string = |path: &Path| {
            CString::new(path.as_os_str().as_encoded_bytes())
                .map_err(|_| Refusal::invalid("a path may hold no NUL"))
        };
        let own = nix::unistd::geteuid();
        let file = match output {
            Output::Pipes | Output::Terminal(_) => None,
            Output::File { path, how } => {
                let how = match how {
                    FileMode::New => libc::O_EXCL,
                    FileMode::Overwrite => libc::O_TRUNC,
                };
                Some((c_string(path)?, how))
            }
        };
        Ok(Self {
            uid: plan.user.uid,
            gid: plan.user.gid,
            groups: plan.user.groups.clone(),
            change_user: own.is_root() || own.as_raw() != plan.user.uid,
            cwd: c_string(&plan.cwd)?,
            file,
            terminal: match output {
                Output::Terminal(end) => Some(end.as_raw_fd()),
                Output::Pipes | Output::File { .. } => None,
            },
            expose: is_protected(),
        })
    }

    /// Runs in the child.
    fn enter(&self) -> io::Result<()> {
        // SAFETY: system calls with numbers, and with pointers into `self`, which the child has
        // its own copy of; every C string ends in NUL, `groups` has the length that is given.
        unsafe {
            libc::setsid();
            if let Some(terminal) = self.terminal {
                step(STEP_OUTPUT, libc::ioctl(terminal, libc::TIOCSCTTY, 0))?;
                for stream in 0..3 {
                    step(STEP_OUTPUT, libc::dup2(terminal, stream))?;
                }
            }
            if self.expose {
                let score = libc::open(OOM_SCORE.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                if score >= 0 {
                    // Raising it needs no privilege; and if it fails the command runs all the same.
                    libc::write(score, c"0".as_ptr().cast(), 1);
                    libc::close(score);
                }
            }
            // Marked and not closed: `std` still needs its own pipe. Nothing of the agent's lies
            // open, but the agent may run in a process whose descriptors are another's. Where the
            // kernel does not know the call (before 5.11), that is left so.
            libc::syscall(
                libc::SYS_close_range,
                3,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            if self.change_user {
                step(
                    STEP_USER,
                    libc::setgroups(self.groups.len(), self.groups.as_ptr()),
                )?;
                step(STEP_USER, libc::setresgid(self.gid, self.gid, self.gid))?;
                step(STEP_USER, libc::setresuid(self.uid, self.uid, self.uid))?;
            }
            step(STEP_CWD, libc::chdir(self.cwd.as_ptr()))?;
            if let Some((path, how)) = &self.file {
                // Not blocking, for a FIFO without a reader would hold the agent up; no
                // controlling terminal, for a session leader gets one by opening it.
                let flags = libc::O_WRONLY
                    | libc::O_CREAT
                    | libc::O_APPEND
                    | libc::O_NOFOLLOW
                    | libc::O_NOCTTY
                    | libc::O_NONBLOCK
                    | libc::O_CLOEXEC
                    | how;
                let mode: libc::c_uint = 0o600;
                let file = step(STEP_OUTPUT, libc::open(path.as_ptr(), flags, mode))?;
                step(
                    STEP_OUTPUT,
                    libc::fcntl(file, libc::F_SETFL, libc::O_APPEND),
                )?;
                step(STEP_OUTPUT, libc::dup2(file, 1))?;
                step(STEP_OUTPUT, libc::dup2(file, 2))?;
            }
        }
        Ok(())
    }
}

fn step(step: i32, result: libc::c_int) -> io::Result<libc::c_int> {
    if result >= 0 {
        return Ok(result);
    }
    let errno = io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or_default();
    Err(io::Error::from_raw_os_error(step | errno))
}

/// What a failed start means to whoever asked for it.
fn refusal(plan: &Plan, output: Output<'_>, error: &io::Error) -> Refusal {
    let program = plan.argv.first().map_or("", String::as_str);
    let Some(code) = error.raw_os_error() else {
        return Refusal::new(RefusalKind::Failed, format!("{program}: {error}"));
    };
    let errno = nix::errno::Errno::from_raw(code & ERRNO);
    let why = errno.desc().to_lowercase();
    match code & !ERRNO {
        STEP_USER => Refusal::new(
            RefusalKind::Failed,
            format!("cannot become user {:?}: {why}", plan.user.name),
        ),
        STEP_CWD => bad_cwd(&plan.cwd, why),
        STEP_OUTPUT => {
            let path = match output {
                Output::File { path, .. } => path,
                Output::Pipes => Path::new("a pipe"),
                Output::Terminal(_) => Path::new("a terminal"),
            };
            Refusal::new(
                RefusalKind::BadOutput,
                format!("cannot write the output to {}: {why}", path.display()),
            )
        }
        _ => exec_refusal(program, errno),
    }
}

fn exec_refusal(program: &str, errno: nix::errno::Errno) -> Refusal {
    use nix::errno::Errno;
    match errno {
        // The file is there, so it is what the file asks for.
        Errno::ENOENT => Refusal::new(
            RefusalKind::NotFound,
            format!("{program}: its interpreter was not found"),
        ),
        Errno::EACCES | Errno::EPERM => lookup::not_executable(program),
        Errno::E2BIG => Refusal::invalid(format!("{program}: arguments and environment too long")),
        Errno::ENOEXEC | Errno::ETXTBSY | Errno::EISDIR | Errno::ELIBBAD | Errno::EINVAL => {
            Refusal::new(
                RefusalKind::NotExecutable,
                format!("{program}: {}", errno.desc().to_lowercase()),
            )
        }
        _ => Refusal::new(
            RefusalKind::Failed,
            format!("{program}: {}", errno.desc().to_lowercase()),
        ),
    }
}
