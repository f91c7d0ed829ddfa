//! Volumes of a guest: their disks are found by serial number, whatever the kernel calls them.

#![expect(
    clippy::disallowed_methods,
    reason = "called where blocking is allowed; the agent carries no fs-err"
)]

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bhatti_proto::message::{MountVolume, VolumeAt};
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::init::{freeze, grow};

/// How long a disk may take to appear.
const DISK_LIMIT: Duration = Duration::from_secs(10);
/// When the kernel is told to look for disks itself: the word about a new one may have been lost.
const SCAN_AFTER: Duration = Duration::from_millis(500);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(3);
/// Where the kernel lists disks.
const BLOCKS: &str = "/sys/block";
/// Header of the page with the serial number, in bytes (SPC-4, 7.8.15).
const SERIAL_HEADER: usize = 4;

/// A disk.
struct Disk {
    /// The kernel's name, such as `sda`.
    name: String,
}

impl Disk {
    fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }

    /// Writes to a file of its driver's.
    fn tell(&self, file: &str) -> io::Result<()> {
        let path = Path::new(BLOCKS).join(&self.name).join("device").join(file);
        fs::write(path, "1")
    }

    fn is_read_only(&self) -> bool {
        let path = Path::new(BLOCKS).join(&self.name).join("ro");
        fs::read(path).is_ok_and(|flag| flag.trim_ascii() == b"1")
    }

    /// Its number, as mounts have it.
    fn number(&self) -> io::Result<u64> {
        let metadata = fs::metadata(self.node())?;
        if metadata.file_type().is_block_device() {
            Ok(metadata.rdev())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }
}

/// The disk with a serial number, if it is there.
fn find(serial: &str) -> Option<Disk> {
    let entries = fs::read_dir(BLOCKS).ok()?;
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let has_serial = |name: &String| {
        let page = Path::new(BLOCKS).join(name).join("device/vpd_pg80");
        let page = fs::read(page).unwrap_or_default();
        let found = page.get(SERIAL_HEADER..).unwrap_or_default();
        found.trim_ascii() == serial.as_bytes()
    };
    let name = names.find(has_serial)?;
    Some(Disk { name })
}

/// Waits for the disk with a serial number.
fn wait_for(serial: &str) -> io::Result<Disk> {
    let begin = Instant::now();
    let mut scanned = false;
    loop {
        // It is listed a little before it can be opened.
        if let Some(disk) = find(serial)
            && disk.number().is_ok()
            && fs::File::open(disk.node()).is_ok()
        {
            return Ok(disk);
        }
        if begin.elapsed() > DISK_LIMIT {
            let text = "its disk did not appear";
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        if !scanned && begin.elapsed() > SCAN_AFTER {
            scan();
            scanned = true;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Has the kernel look for disks.
fn scan() {
    let hosts = fs::read_dir("/sys/class/scsi_host").into_iter().flatten();
    for host in hosts.flatten() {
        // A host that can't be scanned has no disk of ours.
        let _ = fs::write(host.path().join("scan"), "- - -");
    }
}

/// Where a disk is mounted.
fn mounts_of(disk: &Disk) -> io::Result<Vec<PathBuf>> {
    let number = disk.number()?;
    let wanted = format!(
        "{}:{}",
        nix::sys::stat::major(number),
        nix::sys::stat::minor(number)
    );
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts_in(&table, &wanted))
}

/// The mount points of a device in the kernel's table (proc(5), `mountinfo`).
fn mounts_in(table: &str, device: &str) -> Vec<PathBuf> {
    let of_it = table.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(2);
        let (number, _root, point) = (words.next()?, words.next()?, words.next()?);
        (number == device).then(|| unescaped(point))
    });
    of_it.collect()
}

/// A path of the kernel's tables, in which spaces and the like are written as `\040`.
fn unescaped(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt as _;
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let code = match (first, after) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                Some((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'))
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    std::ffi::OsString::from_vec(bytes).into()
}

/// A path with all links on it followed, as mounts are listed; itself if it is not there.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Mounts a volume.
pub(crate) fn mount_volume(volume: &MountVolume) -> io::Result<()> {
    let path = absolute(&volume.path)?;
    let disk = wait_for(&volume.serial)?;
    fs::create_dir_all(path)?;
    if !mounts_of(&disk)?.contains(&real(path)) {
        // The machine is its owner's, who may have programs and devices in a volume: containers.
        let mut flags = MsFlags::MS_RELATIME;
        if volume.read_only {
            flags |= MsFlags::MS_RDONLY;
        }
        mount(Some(&disk.node()), path, Some("ext4"), flags, None::<&str>)?;
    }
    if volume.read_only {
        return Ok(());
    }
    grow::mounted(path, &disk.node())
}

/// Unmounts a volume and lets go of its disk.
pub(crate) fn unmount_volume(volume: &VolumeAt) -> io::Result<()> {
    let path = absolute(&volume.path)?;
    let Some(disk) = find(&volume.serial) else {
        return Ok(());
    };
    let (real, mounted) = (real(path), mounts_of(&disk)?);
    if mounted.iter().any(|at| *at != real) {
        return Err(in_use());
    }
    for _ in &mounted {
        umount2(&real, MntFlags::UMOUNT_NOFOLLOW).map_err(|errno| match errno {
            Errno::EBUSY => in_use(),
            other => other.into(),
        })?;
    }
    // Another mount namespace may still have it: a container of the guest's.
    let exclusive = fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_EXCL)
        .open(disk.node());
    match exclusive {
        // The file system has written out what it had; this has the disk write out what it has.
        Ok(node) => node.sync_all()?,
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            let back = MountVolume {
                serial: volume.serial.clone(),
                path: volume.path.clone(),
                read_only: disk.is_read_only(),
            };
            if !mounted.is_empty() {
                mount_volume(&back)?;
            }
            return Err(in_use());
        }
        Err(error) => return Err(error),
    }
    disk.tell("delete")
}

/// Looks again how large a volume's disk is, and grows its file system to it.
pub(crate) fn grow_volume(volume: &VolumeAt) -> io::Result<()> {
    let path = absolute(&volume.path)?;
    let disk = wait_for(&volume.serial)?;
    disk.tell("rescan")?;
    is_mounted(&disk, path)?;
    grow::mounted(path, &disk.node())
}

/// Has a volume's file system stand still.
pub(crate) fn freeze_volume(volume: &VolumeAt) -> io::Result<()> {
    let path = absolute(&volume.path)?;
    is_mounted(&wait_for(&volume.serial)?, path)?;
    freeze::freeze(path)
}

/// Lets a volume's file system go on.
pub(crate) fn thaw_volume(volume: &VolumeAt) -> io::Result<()> {
    freeze::thaw(absolute(&volume.path)?)
}

fn is_mounted(disk: &Disk, path: &Path) -> io::Result<()> {
    if mounts_of(disk)?.contains(&real(path)) {
        Ok(())
    } else {
        let text = "it is not mounted there any more";
        Err(io::Error::new(io::ErrorKind::NotFound, text))
    }
}

fn in_use() -> io::Error {
    let text = "something in the guest uses it";
    io::Error::new(io::ErrorKind::ResourceBusy, text)
}

fn absolute(path: &str) -> io::Result<&Path> {
    let path = Path::new(path);
    if path.is_absolute() {
        Ok(path)
    } else {
        let text = "the path is not absolute";
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

#[cfg(test)]
mod test {
    use std::path::PathBuf;

    use super::{mounts_in, unescaped};

    #[test]
    fn mounts_are_found_by_their_device_and_not_by_its_name() {
        let table = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 22 8:0 / /data rw,relatime shared:1 - ext4 /dev/sda rw
41 22 8:0 /sub /mnt/a\\040b ro - ext4 /dev/sda rw
42 22 8:16 / /other rw - ext4 /dev/sdb rw
short
";
        let found = mounts_in(table, "8:0");
        assert_eq!(found, [PathBuf::from("/data"), PathBuf::from("/mnt/a b")]);
        assert!(mounts_in(table, "8:32").is_empty());
    }

    #[test]
    fn what_is_no_escape_stays_as_it_is() {
        assert_eq!(unescaped("/a\\9"), PathBuf::from("/a\\9"));
        assert_eq!(unescaped("/a\\134"), PathBuf::from("/a\\"));
        assert_eq!(unescaped("\\"), PathBuf::from("\\"));
    }
}
