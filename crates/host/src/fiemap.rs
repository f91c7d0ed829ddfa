//! The system call behind [`crate::extents`]: `FS_IOC_FIEMAP`, which tells where on its device the
//! parts of a file lie. From the kernel's `Documentation/filesystems/fiemap.rst`.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, opcode};

/// Write the file's dirty pages back first.
pub(crate) const SYNC: u32 = 1;

/// Flags of an extent.
pub(crate) mod flag {
    /// The last one of the file.
    pub(crate) const LAST: u32 = 1;
    /// Where it lies is not known.
    pub(crate) const UNKNOWN: u32 = 1 << 1;
    /// It has no place yet.
    pub(crate) const DELALLOC: u32 = 1 << 2;
    /// It is compressed or encrypted: its place is not that of its bytes.
    pub(crate) const ENCODED: u32 = 1 << 3;
    pub(crate) const DATA_ENCRYPTED: u32 = 1 << 7;
    pub(crate) const NOT_ALIGNED: u32 = 1 << 8;
    /// It lies among the file system's own data.
    pub(crate) const DATA_INLINE: u32 = 1 << 9;
    pub(crate) const DATA_TAIL: u32 = 1 << 10;
    /// It has a place, which holds nothing yet: it reads as zeros.
    pub(crate) const UNWRITTEN: u32 = 1 << 11;
    /// Other files lie there too.
    pub(crate) const SHARED: u32 = 1 << 13;
}

/// Extents asked for together: what takes 14 KiB.
const BATCH: usize = 256;

const FS_IOC_FIEMAP: Opcode = opcode::read_write::<Header>(b'f', 11);

/// `struct fiemap` without its array.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RawExtent {
    pub(crate) logical: u64,
    pub(crate) physical: u64,
    pub(crate) length: u64,
    reserved64: [u64; 2],
    pub(crate) flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Request {
    header: Header,
    extents: [RawExtent; BATCH],
}

impl Default for Request {
    fn default() -> Self {
        Self {
            header: Header::default(),
            extents: [RawExtent::default(); BATCH],
        }
    }
}

/// Calls `each` with the extents of a file in order, until it breaks off. A file system that
/// can't tell is an error of the kind `Unsupported`.
pub(crate) fn for_each(
    file: &File,
    flags: u32,
    mut each: impl FnMut(&RawExtent) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut request = Request::default();
    let mut start = 0;
    loop {
        request.header = Header {
            start,
            length: u64::MAX - start,
            flags,
            extent_count: BATCH as u32,
            ..Header::default()
        };
        ask(file, &mut request)?;
        let mapped = (request.header.mapped_extents as usize).min(BATCH);
        for extent in &request.extents[..mapped] {
            let end = extent.logical.saturating_add(extent.length);
            let ended = each(extent).is_break() || extent.flags & flag::LAST != 0;
            // One that ends where it begins would be given for ever.
            if ended || end <= start {
                return Ok(());
            }
            start = end;
        }
        if mapped == 0 {
            return Ok(());
        }
    }
}

/// How many extents a file has; dirty pages are not looked at.
pub(crate) fn count(file: &File) -> io::Result<u64> {
    let mut request = Request::default();
    request.header.length = u64::MAX;
    ask(file, &mut request)?;
    Ok(request.header.mapped_extents.into())
}

#[expect(unsafe_code, reason = "an ioctl that fills an array")]
fn ask(file: &File, request: &mut Request) -> io::Result<()> {
    // What is promised here is all the kernel trusts.
    request.header.extent_count = request.header.extent_count.min(BATCH as u32);
    // SAFETY: the opcode is that of FS_IOC_FIEMAP, which reads a `struct fiemap` and writes it and
    // at most `extent_count` times `struct fiemap_extent` right behind it. `Request` is laid out
    // so (both are `repr(C)` with no padding between: 32 bytes, then a multiple of 56 of alignment
    // 8), `extent_count` is at most the array's length, any bit pattern is a valid value, and the
    // exclusive borrow lasts for the call.
    let asked =
        unsafe { rustix::ioctl::ioctl(file, Updater::<{ FS_IOC_FIEMAP }, Request>::new(request)) };
    match asked {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::INVAL | Errno::BADR) => {
            Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the file system does not tell where files lie",
            ))
        }
        Err(errno) => Err(errno.into()),
    }
}
