//! Ends all processes and switches the machine off.

use std::convert::Infallible;
use std::io;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, sync};

use super::klog;

/// Time for processes to end by themselves after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// The pause between two looks at them.
const PAUSE: Duration = Duration::from_millis(10);

/// Ends all processes, writes the disks out and switches off. Comes back only with an error.
///
/// # Safety of the host
/// Only a guest's PID 1 may call this; see [`super::is_guest_init`], which is checked again here.
pub fn off() -> io::Result<Infallible> {
    if !super::is_guest_init() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "not PID 1 of a guest",
        ));
    }
    end_processes();
    sync();
    klog::note("make the root read-only", remount_read_only());
    sync();
    // A restart and not a power-off: without a power button that the kernel knows, a power-off is
    // a halt, in which the VMM would stay. Under `-no-reboot` a restart is its end.
    Ok(reboot(RebootMode::RB_AUTOBOOT)?)
}

fn end_processes() {
    let everyone = Pid::from_raw(-1);
    // ESRCH: there is nobody but us.
    let _ = kill(everyone, Signal::SIGTERM);
    let end = Instant::now() + GRACE;
    while others() && Instant::now() < end {
        reap();
        std::thread::sleep(PAUSE);
    }
    let _ = kill(everyone, Signal::SIGKILL);
    let end = Instant::now() + GRACE;
    while others() && Instant::now() < end {
        reap();
        std::thread::sleep(PAUSE);
    }
}

fn reap() {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// Whether there is a process besides this one and the kernel's own (which have no command line).
fn others() -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return false;
    };
    entries.flatten().any(|entry| {
        entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
            .is_some_and(|pid| {
                pid != 1
                    && std::fs::read(format!("/proc/{pid}/cmdline"))
                        .is_ok_and(|line| !line.is_empty())
            })
    })
}

fn remount_read_only() -> io::Result<()> {
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    Ok(mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?)
}
