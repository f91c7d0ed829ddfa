//! Takes away from this process what it does not need, before it looks at what strangers made.
//!
//! For a process that was started for one piece of work and has its files open already.

use std::io;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Gid, Resource, Rlimit, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

/// `nobody`, on every Linux: who owns nothing.
const NOBODY: u32 = 65534;
/// Where the empty file system is mounted before it becomes the root: a directory of every system.
const MOUNT_POINT: &str = "/proc";

/// What the process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bounds {
    /// Bytes of its address space.
    pub memory: u64,
    /// Seconds of processor time, of all its threads together.
    pub cpu_seconds: u64,
    /// Bytes of the largest file it may write.
    pub file_size: u64,
}

/// A part of the confinement that this host does not give.
#[derive(Debug)]
pub struct Missing {
    /// What could not be had.
    pub what: &'static str,
    /// Why not.
    pub source: io::Error,
}

/// Confines the calling thread and those that it will start: bounds, no way to gain privileges,
/// namespaces of its own without a network and with an empty file system, no privileges. Gives
/// what could not be had; all the rest is in force.
///
/// To be called before the process has other threads: they would keep what they have, and an
/// unprivileged process with threads cannot have namespaces.
pub fn confine(bounds: Bounds) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut need = |what, done: io::Result<()>| {
        if let Err(source) = done {
            missing.push(Missing { what, source });
        }
    };
    let limit = |resource, value| {
        let limit = Rlimit {
            current: Some(value),
            maximum: Some(value),
        };
        rustix::process::setrlimit(resource, limit).map_err(io::Error::from)
    };
    need("a limit of memory", limit(Resource::As, bounds.memory));
    need(
        "a limit of processor time",
        limit(Resource::Cpu, bounds.cpu_seconds),
    );
    need(
        "a limit of file sizes",
        limit(Resource::Fsize, bounds.file_size),
    );
    need("no core dumps", limit(Resource::Core, 0));
    let no_new = rustix::thread::set_no_new_privs(true);
    need("no new privileges", no_new.map_err(Into::into));
    let root = rustix::process::geteuid().is_root();
    let namespaces = if root {
        unshare(UnshareFlags::empty())
    } else {
        own_user()
    };
    let separate = namespaces.is_ok();
    need("namespaces", namespaces);
    if separate {
        need("an empty file system", empty_root());
    }
    if root {
        need("another user", become_nobody());
    }
    need("no capabilities", drop_capabilities());
    missing
}

/// Namespaces of mounts, network, IPC and host name, besides others.
fn unshare(more: UnshareFlags) -> io::Result<()> {
    let flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | more;
    #[expect(unsafe_code, reason = "leaving namespaces")]
    // SAFETY: what is unsafe in it is `FILES`, which is not among the flags: descriptors stay
    // shared between threads.
    let unshared = unsafe { rustix::thread::unshare_unsafe(flags) };
    unshared.map_err(Into::into)
}

/// The same for a process without privileges, which has them only in a user namespace of its own.
fn own_user() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare(UnshareFlags::NEWUSER)?;
    // The kernel takes the map of groups only from who cannot leave groups any more.
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {} 1", uid.as_raw())),
        ("/proc/self/gid_map", format!("0 {} 1", gid.as_raw())),
    ];
    for (path, text) in maps {
        let mut options = fs_err::OpenOptions::new();
        let mut file = options.write(true).open(path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
    }
    Ok(())
}

/// Makes an empty, read-only file system the only one there is.
fn empty_root() -> io::Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    rustix::mount::mount("none", MOUNT_POINT, "tmpfs", flags, c"size=4k,mode=755")?;
    rustix::process::chdir(MOUNT_POINT)?;
    // The old root is mounted over the new one, and is taken away from there.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    Ok(())
}

fn become_nobody() -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::thread::set_thread_groups(&[])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, none)?;
    Ok(())
}

#[cfg(test)]
mod test {
    use std::io;
    use std::net::TcpListener;

    use super::{Bounds, NOBODY, confine};

    #[test]
    fn a_confined_thread_has_no_files_no_network_and_no_privileges() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: needs root, for this process has other threads");
            return;
        }
        let bounds = Bounds {
            memory: 8 << 30,
            cpu_seconds: 3600,
            file_size: 1 << 40,
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // What is confined is the thread.
        let confined = std::thread::spawn(move || {
            let missing = confine(bounds);
            assert!(missing.is_empty(), "{missing:?}");
            let kind = |result: io::Result<()>| result.map_err(|error| error.kind());
            let read = kind(std::fs::read_dir("/proc").map(drop));
            assert_eq!(read, Err(io::ErrorKind::NotFound));
            let names = std::fs::read_dir("/").unwrap().count();
            assert_eq!(names, 0);
            let made = kind(std::fs::create_dir("/x"));
            assert!(made.is_err(), "{made:?}");
            let connected = kind(std::net::TcpStream::connect(address).map(drop));
            assert_eq!(connected, Err(io::ErrorKind::NetworkUnreachable));
            let uid = rustix::process::Uid::ROOT;
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap_err();
            assert_eq!(rustix::process::geteuid().as_raw(), NOBODY);
            assert!(rustix::thread::no_new_privs().unwrap());
            let capabilities = rustix::thread::capabilities(None).unwrap();
            assert!(capabilities.permitted.is_empty() && capabilities.effective.is_empty());
            Vec::<u8>::new().try_reserve_exact(9 << 30).unwrap_err();
        });
        confined.join().unwrap();
    }
}
