//! The memory of a guest, seen from outside its VMM.
//!
//! Guest RAM is a file mapped privately (`MAP_PRIVATE`): what the guest has not written is still
//! the file's page, what it has written is a page of the VMM process's own. Which is which stands
//! in `/proc/PID/pagemap`, and the bytes are read through `/proc/PID/mem`, whatever the VMM is.
//! The guest must be paused, or the copy is of no one instant.

use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

use crate::files::{self, Extent, PAGE};

/// Bits of an entry of `/proc/PID/pagemap`, from the kernel's
/// `Documentation/admin-guide/mm/pagemap.rst`.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const FILE_OR_SHARED: u64 = 1 << 61;

/// Pages read and looked at together.
const BATCH: usize = 256;

/// What a capture copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Captured {
    /// Pages the guest had written since the base was mapped.
    pub private_pages: u64,
    /// Those of them that hold only zeros and take no space.
    pub zero_pages: u64,
}

/// Memory could not be captured.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The process does not map the file, or not all of it.
    #[error("the process maps {mapped} of {wanted} bytes of the memory file")]
    NotMapped {
        /// What is mapped, in bytes.
        mapped: u64,
        /// The length of the file.
        wanted: u64,
    },
    /// Something about the process could not be read.
    #[error("failed to read the {what} of process {pid}")]
    Read {
        /// What was read.
        what: &'static str,
        /// Of which process.
        pid: u32,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The copy could not be written.
    #[error("failed to write the memory image")]
    Write(#[source] io::Error),
}

/// One mapping of the memory file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    /// Where in the file it begins.
    offset: u64,
}

/// How the memory file is known in the table of mappings.
#[derive(Clone, Copy)]
struct FileKey<'a> {
    dev: u64,
    ino: u64,
    path: &'a Path,
}

/// Writes to `to` the memory that a paused process sees through its private mapping of `base`:
/// a copy of `base`, blocks shared where the file system can, with the private pages over it.
/// The copy is not yet durable. Blocking.
pub fn capture(pid: u32, base: &Path, to: &Path) -> Result<Captured, MemoryError> {
    let base_file = fs_err::File::open(base).map_err(MemoryError::Write)?;
    let metadata = base_file.metadata().map_err(MemoryError::Write)?;
    let base_data = files::data_extents(base_file.file()).map_err(MemoryError::Write)?;
    let path = fs_err::canonicalize(base).map_err(MemoryError::Write)?;
    let file = FileKey {
        dev: metadata.dev(),
        ino: metadata.ino(),
        path: &path,
    };
    let mappings = mappings_of(pid, file)?;
    let mapped: u64 = mappings
        .iter()
        .map(|mapping| mapping.end - mapping.start)
        .sum();
    if mapped != metadata.len() {
        return Err(MemoryError::NotMapped {
            mapped,
            wanted: metadata.len(),
        });
    }
    files::clone_file(base, to).map_err(MemoryError::Write)?;
    let to = fs_err::OpenOptions::new()
        .write(true)
        .open(to)
        .map_err(MemoryError::Write)?;
    let read = |what| move |source| MemoryError::Read { what, pid, source };
    let pagemap = fs_err::File::open(format!("/proc/{pid}/pagemap")).map_err(read("page map"))?;
    let mem = fs_err::File::open(format!("/proc/{pid}/mem")).map_err(read("memory"))?;

    let mut captured = Captured::default();
    let mut entries = vec![0u8; BATCH * 8];
    let mut pages = vec![0u8; BATCH * PAGE];
    for mapping in mappings {
        let mut address = mapping.start;
        while address < mapping.end {
            let count = (((mapping.end - address) as usize) / PAGE).min(BATCH);
            let entries = &mut entries[..count * 8];
            pagemap
                .file()
                .read_exact_at(entries, address / PAGE as u64 * 8)
                .map_err(read("page map"))?;
            for run in private_runs(entries) {
                let from = address + (run.start * PAGE) as u64;
                let pages = &mut pages[..run.len() * PAGE];
                mem.file()
                    .read_exact_at(pages, from)
                    .map_err(read("memory"))?;
                let offset = from - mapping.start + mapping.offset;
                write_pages(to.file(), pages, offset, &base_data, &mut captured)
                    .map_err(MemoryError::Write)?;
            }
            address += (count * PAGE) as u64;
        }
    }
    Ok(captured)
}

/// Stretches of pages, by index, that are the process's own.
fn private_runs(entries: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (entries, _) = entries.as_chunks::<8>();
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let entry = u64::from_ne_bytes(*entry);
        let private = entry & (PRESENT | SWAPPED) != 0 && entry & FILE_OR_SHARED == 0;
        match runs.last_mut() {
            Some(run) if private && run.end == index => run.end += 1,
            _ if private => runs.push(index..index + 1),
            _ => {}
        }
    }
    runs
}

/// Writes pages that are not zero; makes holes of those that are, where the base has data.
fn write_pages(
    to: &std::fs::File,
    pages: &[u8],
    offset: u64,
    base_data: &[Extent],
    captured: &mut Captured,
) -> io::Result<()> {
    let mut pending: Option<std::ops::Range<usize>> = None;
    let flush = |range: Option<std::ops::Range<usize>>| match range {
        Some(range) => files::write_all_at(to, &pages[range.clone()], offset + range.start as u64),
        None => Ok(()),
    };
    for at in (0..pages.len()).step_by(PAGE) {
        captured.private_pages += 1;
        if files::is_zero(&pages[at..at + PAGE]) {
            captured.zero_pages += 1;
            flush(pending.take())?;
            let start = offset + at as u64;
            if overlaps(base_data, start, start + PAGE as u64) {
                rustix::fs::fallocate(
                    to,
                    rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE,
                    start,
                    PAGE as u64,
                )?;
            }
        } else {
            match &mut pending {
                Some(range) => range.end = at + PAGE,
                None => pending = Some(at..at + PAGE),
            }
        }
    }
    flush(pending)
}

fn overlaps(extents: &[Extent], start: u64, end: u64) -> bool {
    let next = extents.partition_point(|extent| extent.end <= start);
    extents.get(next).is_some_and(|extent| extent.start < end)
}

fn mappings_of(pid: u32, file: FileKey<'_>) -> Result<Vec<Mapping>, MemoryError> {
    let maps = fs_err::read_to_string(format!("/proc/{pid}/maps")).map_err(|source| {
        MemoryError::Read {
            what: "mappings",
            pid,
            source,
        }
    })?;
    Ok(maps
        .lines()
        .filter_map(|line| parse_mapping(line, file))
        .collect())
}

/// Reads a line of `/proc/PID/maps` if it is a mapping of the file.
///
/// The inode has to agree, and the device or the path: on btrfs the device shown here is not the
/// one that `stat` gives.
fn parse_mapping(line: &str, file: FileKey<'_>) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let _permissions = fields.next()?;
    let offset = fields.next()?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let inode: u64 = fields.next()?.parse().ok()?;
    let path = fields.next().unwrap_or_default().trim_start();
    let hex = |text| u64::from_str_radix(text, 16).ok();
    let device = rustix::fs::makedev(hex(major)? as u32, hex(minor)? as u32);
    if inode != file.ino || (device != file.dev && Path::new(path) != file.path) {
        return None;
    }
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
    })
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::{FileKey, Mapping, overlaps, parse_mapping, private_runs};
    use crate::files::Extent;

    #[test]
    fn a_line_of_maps_is_read() {
        let line = "7f0000000000-7f0000100000 rw-p 00001000 fe:01 77                 /a b/mem";
        let dev = rustix::fs::makedev(0xfe, 1);
        let key = |dev, ino, path| FileKey {
            dev,
            ino,
            path: Path::new(path),
        };
        let expected = Mapping {
            start: 0x7f00_0000_0000,
            end: 0x7f00_0010_0000,
            offset: 0x1000,
        };
        assert_eq!(parse_mapping(line, key(dev, 77, "/x")), Some(expected));
        assert_eq!(
            parse_mapping(line, key(dev + 1, 77, "/a b/mem")),
            Some(expected)
        );
        assert_eq!(parse_mapping(line, key(dev + 1, 77, "/x")), None);
        assert_eq!(parse_mapping(line, key(dev, 78, "/a b/mem")), None);
        let heap = "7f0000000000-7f0000100000 rw-p 00000000 00:00 0          [heap]";
        assert_eq!(parse_mapping(heap, key(dev, 77, "/x")), None);
    }

    #[test]
    fn only_private_pages_make_runs() {
        let entry = |bits: u64| bits.to_ne_bytes();
        let (own, file, swapped, absent) = (1 << 63, 1 << 63 | 1 << 61, 1 << 62, 0);
        let entries: Vec<u8> = [own, own, file, absent, swapped, own].map(entry).concat();
        assert_eq!(private_runs(&entries), [0..2, 4..6]);
    }

    #[test]
    fn overlap_is_found_among_extents() {
        let extents = [Extent { start: 10, end: 20 }, Extent { start: 40, end: 50 }];
        assert!(overlaps(&extents, 19, 21));
        assert!(!overlaps(&extents, 20, 40));
        assert!(overlaps(&extents, 0, 100));
        assert!(!overlaps(&[], 0, 100));
    }
}
