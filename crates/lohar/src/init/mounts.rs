//! The mounts every program expects.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::klog;

/// What is mounted in a root: where, which type, flags, options.
struct Mount {
    target: &'static str,
    kind: &'static str,
    flags: MsFlags,
    options: Option<&'static str>,
}

const fn quiet() -> MsFlags {
    MsFlags::MS_NOSUID
        .union(MsFlags::MS_NODEV)
        .union(MsFlags::MS_NOEXEC)
}

const PROC: Mount = Mount {
    target: "/proc",
    kind: "proc",
    flags: quiet(),
    options: None,
};
const SYS: Mount = Mount {
    target: "/sys",
    kind: "sysfs",
    flags: quiet(),
    options: None,
};
const DEV: Mount = Mount {
    target: "/dev",
    kind: "devtmpfs",
    flags: MsFlags::MS_NOSUID,
    options: Some("mode=0755"),
};

/// Mounted in the final root, in this order.
const LATE: [Mount; 5] = [
    Mount {
        target: "/dev/pts",
        kind: "devpts",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        options: Some("mode=0620,gid=5,ptmxmode=0666"),
    },
    Mount {
        target: "/dev/shm",
        kind: "tmpfs",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV),
        options: Some("mode=1777"),
    },
    Mount {
        target: "/run",
        kind: "tmpfs",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV),
        options: Some("mode=0755"),
    },
    Mount {
        target: "/sys/fs/cgroup",
        kind: "cgroup2",
        flags: quiet(),
        options: None,
    },
    Mount {
        target: "/dev/mqueue",
        kind: "mqueue",
        flags: quiet(),
        options: None,
    },
];

/// Links that programs expect in `/dev`, which devtmpfs does not make.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Mounts `/proc`, so that the kernel's command line can be read. The only effect the agent has
/// before it knows where it is; without `/proc` it is in no running system.
pub(super) fn proc_for_command_line() -> io::Result<()> {
    if Path::new("/proc/cmdline").exists() {
        Ok(())
    } else {
        PROC.mount()
    }
}

/// Mounts what the agent itself needs in the initrd.
pub fn early() -> io::Result<()> {
    if !Path::new("/proc/self").exists() {
        PROC.mount()?;
    }
    SYS.mount()?;
    DEV.mount()
}

/// Mounts `/run` in the final root.
pub fn run() -> io::Result<()> {
    LATE.iter()
        .filter(|entry| entry.target == "/run")
        .try_for_each(Mount::mount)
}

/// Mounts the rest in the final root; what does not work is said in the log.
pub fn late() {
    for entry in &LATE {
        klog::note(&format!("mount {}", entry.target), entry.mount());
    }
    for (target, link) in LINKS {
        // One that is there already, of the image or of devtmpfs, is as good.
        let _ = std::os::unix::fs::symlink(target, link);
    }
    let tmp = Path::new("/tmp");
    if !tmp.is_dir() {
        klog::note("make /tmp", make_tmp(tmp));
    }
}

fn make_tmp(tmp: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir(tmp)?;
    std::fs::set_permissions(tmp, std::fs::Permissions::from_mode(0o1777))
}

impl Mount {
    /// Mounts it, making the directory first. Mounted already is success.
    fn mount(&self) -> io::Result<()> {
        std::fs::create_dir_all(self.target)?;
        match mount(
            Some(self.kind),
            self.target,
            Some(self.kind),
            self.flags,
            self.options,
        ) {
            Ok(()) | Err(Errno::EBUSY) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}
