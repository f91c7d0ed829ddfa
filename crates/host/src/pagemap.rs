//! Which pages of a process are its own, and their bytes: the system calls behind
//! [`crate::memory`].

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use rustix::ioctl::{Opcode, opcode};

use crate::files::PAGE;

/// Bits of an entry of `/proc/PID/pagemap`, from the kernel's
/// `Documentation/admin-guide/mm/pagemap.rst`.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE_OR_SHARED: u64 = 1 << 61;

/// Entries read and looked at together: those of 4 MiB.
const ENTRIES: usize = 1024;

/// The same for the ioctl `PAGEMAP_SCAN` of Linux 6.7, which does not look at page tables that
/// are not there.
mod category {
    pub(super) const FILE: u64 = 1 << 2;
    pub(super) const PRESENT: u64 = 1 << 3;
    pub(super) const SWAPPED: u64 = 1 << 4;
}

const PAGEMAP_SCAN: Opcode = opcode::read_write::<Scan>(b'f', 16);
/// Regions asked for together.
const REGIONS: usize = 512;

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Debug, Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// The table of a process's pages.
#[derive(Debug)]
pub(crate) struct Pagemap {
    file: File,
    /// Whether the kernel has `PAGEMAP_SCAN`, as far as is known.
    scans: bool,
}

impl Pagemap {
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let (file, _) = fs_err::File::open(format!("/proc/{pid}/pagemap"))?.into_parts();
        Ok(Self { file, scans: true })
    }

    /// Adds to `runs` the pages between two addresses that are the process's own, and gives how
    /// far it has looked: at least a page further than `start`.
    pub(crate) fn private(
        &mut self,
        start: u64,
        end: u64,
        runs: &mut Vec<Range<u64>>,
    ) -> io::Result<u64> {
        if self.scans {
            match self.scan(start, end, runs) {
                Ok(walked) if walked > start => return Ok(walked),
                Ok(_) => self.scans = false,
                Err(error) => match error.raw_os_error() {
                    Some(libc::ENOTTY | libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => {
                        self.scans = false;
                    }
                    _ => return Err(error),
                },
            }
        }
        self.read(start, end, runs)
    }

    #[expect(unsafe_code, reason = "an ioctl that fills an array")]
    fn scan(&self, start: u64, end: u64, runs: &mut Vec<Range<u64>>) -> io::Result<u64> {
        let mut regions = [Region::default(); REGIONS];
        let mut scan = Scan {
            size: size_of::<Scan>() as u64,
            start,
            end,
            vec: regions.as_mut_ptr() as u64,
            vec_len: REGIONS as u64,
            // Those that are not a file's, and there or swapped out.
            category_inverted: category::FILE,
            category_mask: category::FILE,
            category_anyof_mask: category::PRESENT | category::SWAPPED,
            return_mask: category::PRESENT | category::SWAPPED,
            ..Scan::default()
        };
        // SAFETY: PAGEMAP_SCAN reads a `struct pm_scan_arg` of the size it says, writes its
        // `walk_end`, and writes at most `vec_len` times `struct page_region` at `vec`, which is
        // an array of so many that lives until the end of this function. Both are `repr(C)`
        // without padding, and any bit pattern is a valid value of them.
        let filled = unsafe {
            libc::ioctl(
                self.file.as_raw_fd(),
                PAGEMAP_SCAN as libc::Ioctl,
                &raw mut scan,
            )
        };
        if filled < 0 {
            return Err(io::Error::last_os_error());
        }
        for region in regions.iter().take(filled as usize) {
            add(runs, region.start..region.end);
        }
        Ok(scan.walk_end.min(end))
    }

    fn read(&self, start: u64, end: u64, runs: &mut Vec<Range<u64>>) -> io::Result<u64> {
        let page = PAGE as u64;
        let mut entries = [0u8; ENTRIES * 8];
        let count = ((end - start) / page).min(ENTRIES as u64) as usize;
        let entries = &mut entries[..count * 8];
        self.file.read_exact_at(entries, start / page * 8)?;
        let (entries, _) = entries.as_chunks::<8>();
        for (index, entry) in entries.iter().enumerate() {
            let entry = u64::from_ne_bytes(*entry);
            if entry & (PRESENT | SWAPPED) != 0 && entry & FILE_OR_SHARED == 0 {
                let at = start + index as u64 * page;
                add(runs, at..at + page);
            }
        }
        Ok(start + count as u64 * page)
    }
}

/// Adds a stretch behind the others.
fn add(runs: &mut Vec<Range<u64>>, stretch: Range<u64>) {
    match runs.last_mut() {
        Some(last) if last.end == stretch.start => last.end = stretch.end,
        _ => runs.push(stretch),
    }
}

/// The memory of a process.
#[derive(Debug)]
pub(crate) struct Memory {
    pid: u32,
    file: File,
    remote: Vec<libc::iovec>,
}

impl Memory {
    /// Most stretches that one system call reads (`UIO_MAXIOV`).
    pub(crate) const MOST: usize = 1024;

    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let (file, _) = fs_err::File::open(format!("/proc/{pid}/mem"))?.into_parts();
        Ok(Self {
            pid,
            file,
            remote: Vec::new(),
        })
    }

    /// Reads stretches of addresses one behind the other. They fill the buffer.
    pub(crate) fn read(&mut self, stretches: &[Range<u64>], buffer: &mut [u8]) -> io::Result<()> {
        if self.read_together(stretches, buffer) {
            return Ok(());
        }
        // Twice as slow, but it tells which part can't be read.
        let mut rest = buffer;
        for stretch in stretches {
            let len = (stretch.end - stretch.start) as usize;
            let (part, behind) = rest
                .split_at_mut_checked(len)
                .ok_or(io::ErrorKind::InvalidInput)?;
            self.file.read_exact_at(part, stretch.start)?;
            rest = behind;
        }
        Ok(())
    }

    /// Whether all was read by one system call.
    #[expect(unsafe_code, reason = "a read of another process's memory")]
    fn read_together(&mut self, stretches: &[Range<u64>], buffer: &mut [u8]) -> bool {
        self.remote.clear();
        self.remote
            .extend(stretches.iter().map(|stretch| libc::iovec {
                iov_base: stretch.start as *mut libc::c_void,
                iov_len: (stretch.end - stretch.start) as usize,
            }));
        let local = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: the kernel writes at most `iov_len` bytes at `iov_base` of the one local part,
        // which is the buffer, borrowed for the call. The addresses of the other parts are looked
        // up in the other process only and written nowhere; their number is that of the vector.
        let read = unsafe {
            libc::process_vm_readv(
                self.pid as libc::pid_t,
                &raw const local,
                1,
                self.remote.as_ptr(),
                self.remote.len() as libc::c_ulong,
                0,
            )
        };
        usize::try_from(read).is_ok_and(|read| read == buffer.len())
    }
}

#[cfg(test)]
mod test {
    use super::{Memory, PAGE, Pagemap, add};

    #[test]
    fn stretches_that_meet_are_one() {
        let mut runs = Vec::new();
        for stretch in [0..1, 1..3, 5..6, 6..7] {
            add(&mut runs, stretch);
        }
        assert_eq!(runs, [0..3, 5..7]);
    }

    /// All private pages of an address range, by one of the two ways.
    fn all(
        mut look: impl FnMut(u64, &mut Vec<std::ops::Range<u64>>) -> std::io::Result<u64>,
        start: u64,
        end: u64,
    ) -> std::io::Result<Vec<std::ops::Range<u64>>> {
        let (mut runs, mut at) = (Vec::new(), start);
        while at < end {
            let walked = look(at, &mut runs)?;
            assert!(walked > at && walked <= end);
            at = walked;
        }
        Ok(runs)
    }

    #[test]
    fn both_ways_find_the_same_pages_and_their_bytes() {
        let pages = 40_000;
        let mut memory = vec![0u8; pages * PAGE];
        let first = (memory.as_ptr() as u64).next_multiple_of(PAGE as u64);
        let end = first + ((pages - 1) * PAGE) as u64;
        let offset = (first - memory.as_ptr() as u64) as usize;
        for page in (0..pages - 1).filter(|page| page % 7 == 0 || page % 10 == 1) {
            memory[offset + page * PAGE + 5] = page as u8 | 1;
        }
        let map = Pagemap::open(std::process::id()).unwrap();
        let read = all(|at, runs| map.read(at, end, runs), first, end).unwrap();
        assert!(!read.is_empty());
        match all(|at, runs| map.scan(at, end, runs), first, end) {
            Ok(scanned) => assert_eq!(scanned, read),
            Err(error) => eprintln!("skipped in part: no PAGEMAP_SCAN here ({error})"),
        }
        let stretches: Vec<_> = (0..100)
            .map(|index| first + index * 2 * PAGE as u64)
            .map(|at| at..at + PAGE as u64)
            .collect();
        let mut process = Memory::open(std::process::id()).unwrap();
        let mut bytes = vec![1; 100 * PAGE];
        process.read(&stretches, &mut bytes).unwrap();
        for (index, page) in bytes.chunks(PAGE).enumerate() {
            let at = offset + index * 2 * PAGE;
            assert!(*page == memory[at..at + PAGE], "{index}");
        }
        assert!(process.read_together(&stretches, &mut bytes));
        // Nothing is at the end of the address space.
        let nowhere = u64::MAX / PAGE as u64 * PAGE as u64 - PAGE as u64;
        let stretch = nowhere..nowhere + PAGE as u64;
        process.read(&[stretch], &mut bytes[..PAGE]).unwrap_err();
    }
}
