//! Finds the root disk and makes it the root, without running anything of it.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::klog;

/// How long the disk may take to appear. Its driver was loaded just before.
const DISK_LIMIT: Duration = Duration::from_secs(10);
/// The pause between two looks for it.
const DISK_PAUSE: Duration = Duration::from_millis(2);
/// Where it is mounted first.
const NEW_ROOT: &str = "/newroot";
/// Mounts of the initrd that move along.
const MOVED: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Mounts the disk and makes it the root of this process and all to come.
pub fn enter(disk: &Path) -> io::Result<()> {
    wait_for(disk)?;
    std::fs::create_dir_all(NEW_ROOT)?;
    mount_disk(disk)?;
    for name in MOVED {
        let target = format!("{NEW_ROOT}{name}");
        std::fs::create_dir_all(&target)?;
        mount(
            Some(name),
            target.as_str(),
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )?;
    }
    free_initrd();
    std::env::set_current_dir(NEW_ROOT)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/")
}

fn wait_for(disk: &Path) -> io::Result<()> {
    let end = Instant::now() + DISK_LIMIT;
    while !disk.exists() {
        if Instant::now() > end {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the root disk did not appear",
            ));
        }
        std::thread::sleep(DISK_PAUSE);
    }
    Ok(())
}

/// Tries ext4, which images have, then every other file system the kernel knows.
fn mount_disk(disk: &Path) -> io::Result<()> {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let others = known
        .lines()
        .filter_map(|line| line.strip_prefix('\t'))
        .filter(|k| *k != "ext4");
    let mut last = Errno::ENODEV;
    for kind in std::iter::once("ext4").chain(others) {
        match mount(
            Some(disk),
            NEW_ROOT,
            Some(kind),
            MsFlags::MS_RELATIME,
            None::<&str>,
        ) {
            Ok(()) => return Ok(()),
            Err(errno) => last = errno,
        }
    }
    klog::say(&format!(
        "the root disk has no file system that can be mounted: {last}"
    ));
    Err(last.into())
}

/// Deletes the initrd's modules that are loaded: the initrd is memory.
fn free_initrd() {
    klog::note(
        "free the initrd's modules",
        free_modules(Path::new("/modules")),
    );
}

/// Deletes the files of a directory; those below it are still to be loaded.
fn free_modules(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
