//! How much XFS sets aside when a shared block is written to: `FS_IOC_FSSETXATTR`.

use std::fs::File;
use std::io;

use rustix::ioctl::{Getter, Opcode, Setter, opcode};

/// `fsx_cowextsize` counts.
const FS_XFLAG_COWEXTSIZE: u32 = 0x0001_0000;
const FS_IOC_FSGETXATTR: Opcode = opcode::read::<Fsxattr>(b'X', 31);
const FS_IOC_FSSETXATTR: Opcode = opcode::write::<Fsxattr>(b'X', 32);

/// `struct fsxattr` of the kernel's `linux/fs.h`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Fsxattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

/// Has single blocks set aside for a file's writes to shared ones. XFS takes 32 at a time unless
/// it is told otherwise: a copy with pages here and there would take 30 times their size for the
/// minutes until they are given back. File systems that know no such thing refuse.
#[expect(unsafe_code, reason = "ioctls with a structure")]
pub(crate) fn by_the_block(file: &File, block: u32) -> io::Result<()> {
    // SAFETY: FS_IOC_FSGETXATTR writes a `struct fsxattr`, as which `Fsxattr` is laid out (28
    // bytes without padding); any bit pattern is a valid value.
    let mut attributes =
        unsafe { rustix::ioctl::ioctl(file, Getter::<{ FS_IOC_FSGETXATTR }, Fsxattr>::new())? };
    attributes.xflags |= FS_XFLAG_COWEXTSIZE;
    attributes.cowextsize = block;
    // SAFETY: FS_IOC_FSSETXATTR reads a `struct fsxattr`, see above.
    unsafe {
        rustix::ioctl::ioctl(
            file,
            Setter::<{ FS_IOC_FSSETXATTR }, Fsxattr>::new(attributes),
        )?;
    }
    Ok(())
}
