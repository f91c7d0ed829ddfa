//! Modules that are loaded when the kernel asks for them.
//!
//! The kernel runs the program that `/proc/sys/kernel/modprobe` names, as
//! `PROGRAM -q -- NAME`, when something wants a module that is not loaded. That program is the
//! agent itself, by `/proc/PID/exe`, and what it loads are the files of the initrd, by a
//! descriptor that the agent holds: so it works in any image, and nothing shows of it.
//!
//! The descriptor's number is a constant, for whoever is run has only the path it was run by.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};

/// The descriptor of the directory of modules. Above what the agent has open when it asks for the
/// number, and below the least limit of open files.
const DESCRIPTOR: i32 = 200;
/// The file that says which modules there are.
const INDEX: &str = "index";
/// Names the program that the kernel asks for modules.
const MODPROBE: &str = "/proc/sys/kernel/modprobe";
/// Devices that anybody may open; it is the kernel that says what they may do with them.
const FOR_ALL: [&str; 2] = ["fuse", "net/tun"];

/// One of the modules.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'t> {
    name: &'t str,
    /// What is loaded before it.
    before: Vec<&'t str>,
    aliases: Vec<&'t str>,
}

/// Opens the directory of modules, so that it can still be reached when the root is another.
pub fn keep(dir: &Path) -> io::Result<OwnedFd> {
    let dir = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(dir)?;
    let number = fcntl(&dir, FcntlArg::F_DUPFD_CLOEXEC(DESCRIPTOR))?;
    adopt(number)
}

#[expect(unsafe_code, reason = "the call gives a bare number")]
fn adopt(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC has just made this descriptor, and nobody else knows its number.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    if number == DESCRIPTOR {
        Ok(descriptor)
    } else {
        Err(io::Error::other("the modules' descriptor is taken"))
    }
}

/// Tells the kernel whom to ask, and makes the devices whose first use asks. The directory stays
/// open for as long as this process lives.
pub fn offer(dir: OwnedFd) -> io::Result<()> {
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let index = std::fs::read_to_string(Path::new(&path).join(INDEX))?;
    for (name, minor) in entries(&index).filter_map(|entry| device(&entry)) {
        make_device(name, minor)?;
    }
    std::fs::write(MODPROBE, format!("/proc/{}/exe", std::process::id()))?;
    // From here on it is the kernel's.
    let _ = dir.into_raw_fd();
    Ok(())
}

/// Loads the module the kernel asks for. `program` is the path it was run by.
pub fn load(program: &Path, name: &str) -> io::Result<()> {
    let process = program.parent().ok_or(io::ErrorKind::NotFound)?;
    let dir = process.join("fd").join(DESCRIPTOR.to_string());
    let index = std::fs::read_to_string(dir.join(INDEX))?;
    let names = wanted(&index, name).ok_or(io::ErrorKind::NotFound)?;
    for name in names {
        insert(&dir.join(format!("{name}.ko")))?;
    }
    Ok(())
}

fn insert(path: &PathBuf) -> io::Result<()> {
    match finit_module(
        &File::open(path)?,
        &CString::default(),
        ModuleInitFlags::empty(),
    ) {
        Ok(()) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The modules to be loaded for what goes by a name or an alias, in order.
fn wanted<'t>(index: &'t str, name: &str) -> Option<Vec<&'t str>> {
    let is = |other: &str| plain(other).eq(plain(name));
    let by_name = entries(index).find(|entry| is(entry.name));
    let entry =
        by_name.or_else(|| entries(index).find(|entry| entry.aliases.iter().any(|a| is(a))))?;
    let mut names = entry.before;
    names.push(entry.name);
    Some(names)
}

/// Hyphens and underscores are the same in names of modules.
fn plain(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().map(|b| if b == b'-' { b'_' } else { b })
}

fn entries(index: &str) -> impl Iterator<Item = Entry<'_>> {
    index.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (name, before) = (words.next()?, words.next()?);
        Some(Entry {
            name,
            before: before.split(',').filter(|name| *name != "-").collect(),
            aliases: words.collect(),
        })
    })
}

/// The name and the minor number of a module's device among the kernel's miscellaneous ones.
fn device<'t>(entry: &Entry<'t>) -> Option<(&'t str, u64)> {
    let find = |prefix| {
        entry
            .aliases
            .iter()
            .find_map(|alias| alias.strip_prefix(prefix))
    };
    let name = find("devname:")?;
    Some((name, find("char-major-10-")?.parse().ok()?))
}

fn make_device(name: &str, minor: u64) -> io::Result<()> {
    let path = Path::new("/dev").join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mode = if FOR_ALL.contains(&name) {
        0o666
    } else {
        0o600
    };
    match mknod(
        &path,
        SFlag::S_IFCHR,
        Mode::from_bits_truncate(mode),
        makedev(10, minor),
    ) {
        Ok(()) => std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)),
        Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod test {
    use super::{device, entries, wanted};

    const INDEX: &str = "llc -\nstp llc\nbridge llc,stp rtnl-link-bridge\n\
                         tun - devname:net/tun char-major-10-200\n";

    #[test]
    fn a_module_is_found_by_its_name_and_by_what_it_is_for() {
        let all = Some(vec!["llc", "stp", "bridge"]);
        assert_eq!(wanted(INDEX, "bridge"), all);
        assert_eq!(wanted(INDEX, "rtnl_link-bridge"), all);
        assert_eq!(wanted(INDEX, "char-major-10-200"), Some(vec!["tun"]));
        assert_eq!(wanted(INDEX, "nothing"), None);
        assert_eq!(wanted("", ""), None);
    }

    #[test]
    fn devices_are_those_that_have_a_number() {
        let devices: Vec<_> = entries(INDEX).filter_map(|entry| device(&entry)).collect();
        assert_eq!(devices, [("net/tun", 200)]);
    }
}
