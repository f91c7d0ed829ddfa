//! Loop devices: block devices over files (`loop(4)`).

use std::ffi::{OsStr, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::ioctl::{Getter, Ioctl, IoctlOutput, NoArg, Opcode, Setter, ioctl};

use super::mounts::Device;

/// The device that gives out loop devices.
const CONTROL: &str = "/dev/loop-control";
/// Major number of loop devices (`admin-guide/devices.txt` of the kernel).
const MAJOR: u32 = 7;
/// How often a device that was free a moment ago is looked for: others may be faster.
const TRIES: u32 = 16;
/// Block size of the devices, in bytes: that of pages, which every disk under the file can take
/// for direct I/O.
const BLOCK: u32 = 4096;

// <linux/loop.h>
const LOOP_CLR_FD: Opcode = 0x4C01;
const LOOP_GET_STATUS64: Opcode = 0x4C05;
const LOOP_SET_CAPACITY: Opcode = 0x4C07;
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

/// A file, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The id of the file a path leads to; `None` if there is none.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs_err::metadata(path) {
            Ok(found) => Ok(Some(Self {
                device: found.dev(),
                inode: found.ino(),
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An open loop device that has a certain file behind it. While it is open, the device keeps it.
#[derive(Debug)]
pub(super) struct LoopDevice {
    fd: OwnedFd,
    path: PathBuf,
}

impl LoopDevice {
    /// Puts a new device over a file. It goes away when nothing has it open or mounted.
    pub(super) fn attach(image: &Path) -> io::Result<Self> {
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open(image)?;
        let control = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open(CONTROL)?;
        let mut tries = 0;
        loop {
            let number = get_free(control.as_fd())?;
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = fs_err::OpenOptions::new()
                .read(true)
                .write(true)
                .open(&path)?;
            match configure(device.as_fd(), file.as_raw_fd() as u32) {
                Ok(()) => {
                    let fd = device.into_file().into();
                    return Ok(Self { fd, path });
                }
                Err(rustix::io::Errno::BUSY) if tries < TRIES => tries += 1,
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// The device that has a file behind it, if there is one. Others are not even opened: the last
    /// one to close a device can be the one that clears it.
    pub(super) fn find(file: FileId) -> io::Result<Option<Self>> {
        for entry in fs_err::read_dir("/sys/block")? {
            let entry = entry?;
            if path_behind(&entry.path())?.is_none_or(|behind| behind != file) {
                continue;
            }
            if let Some(device) = Self::open(Path::new("/dev").join(entry.file_name()), file)? {
                return Ok(Some(device));
            }
        }
        Ok(None)
    }

    /// Opens a device and makes sure that it has a file behind it.
    fn open(path: PathBuf, file: FileId) -> io::Result<Option<Self>> {
        let opened = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path);
        let fd: OwnedFd = match opened {
            Ok(opened) => opened.into_file().into(),
            // It went away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match status(fd.as_fd()) {
            Ok(info) => {
                let behind = FileId {
                    device: info.device,
                    inode: info.inode,
                };
                Ok((behind == file).then_some(Self { fd, path }))
            }
            // Nothing is behind it any more.
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Its path under `/dev`.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes up the size that its file has now.
    pub(super) fn take_size(&self) -> io::Result<()> {
        Ok(set_capacity(self.fd.as_fd())?)
    }

    /// Has the file taken off the device, at once or when nothing uses the device any more.
    pub(super) fn detach(self) -> io::Result<()> {
        match clear(self.fd.as_fd()) {
            // It is off already.
            Ok(()) | Err(rustix::io::Errno::NXIO) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Whether the device of a mount is a loop device with this file behind it. Needs no privileges.
pub(super) fn has_behind(device: Device, file: FileId) -> io::Result<bool> {
    if device.major != MAJOR {
        return Ok(false);
    }
    let device = format!("/sys/dev/block/{MAJOR}:{}", device.minor);
    Ok(path_behind(Path::new(&device))? == Some(file))
}

/// The file behind a block device, given by its directory in `/sys`: the kernel tells its path,
/// and the file at the end of it is looked at. `None` if there is nothing behind it, or nothing
/// that this process can see.
fn path_behind(device: &Path) -> io::Result<Option<FileId>> {
    let path = match fs_err::read(device.join("loop/backing_file")) {
        Ok(path) => path,
        // It is no loop device, or loses what is behind it at this moment.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error()) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let path = path.strip_suffix(b"\n").unwrap_or(&path);
    // Another's file may be out of reach.
    Ok(FileId::of(Path::new(OsStr::from_bytes(path))).unwrap_or(None))
}

/// `LOOP_CTL_GET_FREE` gives its number as the call's result.
struct GetFree;

#[expect(unsafe_code, reason = "the call's result is its output")]
// SAFETY: the call takes no argument (`as_ptr` is null and not looked at), and writes to no memory.
unsafe impl Ioctl for GetFree {
    type Output = i32;
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        LOOP_CTL_GET_FREE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::null_mut()
    }

    unsafe fn output_from_ptr(out: IoctlOutput, _: *mut c_void) -> rustix::io::Result<i32> {
        Ok(out)
    }
}

fn get_free(control: impl AsFd) -> rustix::io::Result<i32> {
    // SAFETY: as said at `GetFree`.
    #[expect(unsafe_code, reason = "an ioctl without a wrapper")]
    unsafe {
        ioctl(control, GetFree)
    }
}

fn configure(device: impl AsFd, file: u32) -> rustix::io::Result<()> {
    let config = LoopConfig {
        fd: file,
        block_size: BLOCK,
        info: LoopInfo {
            flags: LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
            ..NO_INFO
        },
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads a `struct loop_config`, which `LoopConfig` is.
    #[expect(unsafe_code, reason = "an ioctl without a wrapper")]
    unsafe {
        ioctl(device, Setter::<LOOP_CONFIGURE, LoopConfig>::new(config))
    }
}

fn status(device: impl AsFd) -> rustix::io::Result<LoopInfo> {
    // SAFETY: the kernel writes a `struct loop_info64`, which `LoopInfo` is, whole if it succeeds.
    #[expect(unsafe_code, reason = "an ioctl without a wrapper")]
    unsafe {
        ioctl(device, Getter::<LOOP_GET_STATUS64, LoopInfo>::new())
    }
}

fn set_capacity(device: impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: the call takes no argument.
    #[expect(unsafe_code, reason = "an ioctl without a wrapper")]
    unsafe {
        ioctl(device, NoArg::<LOOP_SET_CAPACITY>::new())
    }
}

fn clear(device: impl AsFd) -> rustix::io::Result<()> {
    // SAFETY: the call takes no argument.
    #[expect(unsafe_code, reason = "an ioctl without a wrapper")]
    unsafe {
        ioctl(device, NoArg::<LOOP_CLR_FD>::new())
    }
}

const NO_INFO: LoopInfo = LoopInfo {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    sizelimit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

#[cfg(test)]
mod test {
    use super::{LoopConfig, LoopInfo};

    #[test]
    fn the_structures_have_the_kernels_sizes() {
        // Of <linux/loop.h>, where neither has padding.
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}
