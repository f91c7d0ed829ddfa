//! The memory of a guest, seen from outside its VMM.
//!
//! Guest RAM is a file mapped privately (`MAP_PRIVATE`): what the guest has not written is still
//! the file's page, what it has written is a page of the VMM process's own. Which is which the
//! kernel tells (`/proc/PID/pagemap`), and the bytes are read from the process, whatever the VMM
//! is. The guest must be paused, or the copy is of no one instant.

use std::cell::OnceCell;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FallocateFlags;

use crate::cow;
use crate::extents;
use crate::files::{self, Extent, PAGE};
use crate::pagemap::{Memory, Pagemap};

/// What is read from the process at once, in bytes.
const BATCH: usize = 2 << 20;

/// Into how many pieces more than its holes make of it a base may have been broken and still lend
/// its blocks. Each capture breaks up more of what the one before left whole; from here on mapping
/// and reading it costs more than a copy that shares nothing, which ends the chain.
const MOST_BREAKS: u64 = 20_000;

/// What a capture copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Captured {
    /// Pages the guest had written since the base was mapped.
    pub private_pages: u64,
    /// Those of them that hold only zeros and take no space.
    pub zero_pages: u64,
    /// Whether the base lay in so many pieces that its data was copied and not shared.
    pub merged: bool,
}

/// Memory could not be captured.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It was asked not to go on.
    #[error("the copying of memory was broken off")]
    Cancelled,
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
/// A flag that is set breaks it off; what was written of the copy is then the caller's to delete.
/// The copy is not yet durable. Blocking.
pub fn capture(
    pid: u32,
    base: &Path,
    to: &Path,
    cancel: &AtomicBool,
) -> Result<Captured, MemoryError> {
    let base_file = fs_err::File::open(base).map_err(MemoryError::Write)?;
    let mappings = mappings_of_all(pid, &base_file, base)?;
    let mut captured = Captured {
        merged: is_broken_up(base_file.file()).map_err(MemoryError::Write)?,
        ..Captured::default()
    };
    let copy = if captured.merged {
        files::copy_whole
    } else {
        files::clone_until
    };
    copy(base, to, cancel).map_err(|error| match error.kind() {
        io::ErrorKind::Interrupted => MemoryError::Cancelled,
        _ => MemoryError::Write(error),
    })?;
    let target = fs_err::OpenOptions::new()
        .write(true)
        .open(to)
        .map_err(MemoryError::Write)?;
    // Refused where it means nothing.
    let _ = cow::by_the_block(target.file(), PAGE as u32);
    let target = Target {
        file: target.file(),
        base: base_file.file(),
        base_data: OnceCell::new(),
    };
    let read = |what| move |source| MemoryError::Read { what, pid, source };
    let mut pagemap = Pagemap::open(pid).map_err(read("page map"))?;
    let mut memory = Memory::open(pid).map_err(read("memory"))?;
    let mut buffer = vec![0; BATCH];
    for mapping in mappings {
        let mut address = mapping.start;
        while address < mapping.end {
            let mut runs = Vec::new();
            address = pagemap
                .private(address, mapping.end, &mut runs)
                .map_err(read("page map"))?;
            for batch in batches(&runs) {
                if cancel.load(Ordering::Relaxed) {
                    return Err(MemoryError::Cancelled);
                }
                let pages = &mut buffer[..total(&batch)];
                memory.read(&batch, pages).map_err(read("memory"))?;
                let mut rest = &*pages;
                for run in &batch {
                    let (part, behind) = rest.split_at(total(std::slice::from_ref(run)));
                    let offset = run.start - mapping.start + mapping.offset;
                    target
                        .put(part, offset, &mut captured)
                        .map_err(MemoryError::Write)?;
                    rest = behind;
                }
            }
        }
    }
    Ok(captured)
}

/// Whether a base lies in more pieces than it may.
fn is_broken_up(base: &File) -> io::Result<bool> {
    // Where the file system can't tell, it can't share blocks either.
    let pieces = extents::count(base).unwrap_or_default();
    if pieces <= MOST_BREAKS {
        return Ok(false);
    }
    Ok(pieces.saturating_sub(files::data_extents(base)?.len() as u64) > MOST_BREAKS)
}

/// How many bytes there are in stretches of addresses.
fn total(stretches: &[Range<u64>]) -> usize {
    stretches
        .iter()
        .map(|stretch| (stretch.end - stretch.start) as usize)
        .sum()
}

/// Cuts stretches of whole pages into what is read at once.
fn batches(runs: &[Range<u64>]) -> Vec<Vec<Range<u64>>> {
    let mut batches = Vec::new();
    let (mut batch, mut room) = (Vec::new(), BATCH as u64);
    for run in runs {
        let mut run = run.clone();
        while !run.is_empty() {
            if room == 0 || batch.len() == Memory::MOST {
                batches.push(std::mem::take(&mut batch));
                room = BATCH as u64;
            }
            let end = run.end.min(run.start + room);
            room -= end - run.start;
            batch.push(run.start..end);
            run.start = end;
        }
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// The copy being written.
struct Target<'a> {
    file: &'a File,
    base: &'a File,
    /// Where the base has data, once that is asked.
    base_data: OnceCell<Vec<Extent>>,
}

impl Target<'_> {
    /// Writes pages that are not zero; makes holes of those that are, where the base has data.
    fn put(&self, pages: &[u8], offset: u64, captured: &mut Captured) -> io::Result<()> {
        captured.private_pages += (pages.len() / PAGE) as u64;
        let mut at = 0;
        // Stretches of pages that are all zero or all not.
        for alike in pages
            .chunks(PAGE)
            .map(files::is_zero)
            .collect::<Vec<_>>()
            .chunk_by(|a, b| a == b)
        {
            let len = alike.len() * PAGE;
            let start = offset + at as u64;
            if alike.first() == Some(&true) {
                captured.zero_pages += alike.len() as u64;
                self.clear(start, start + len as u64)?;
            } else {
                files::write_all_at(self.file, &pages[at..at + len], start)?;
            }
            at += len;
        }
        Ok(())
    }

    fn clear(&self, start: u64, end: u64) -> io::Result<()> {
        let data = if let Some(data) = self.base_data.get() {
            data
        } else {
            let data = data_of(self.base)?;
            self.base_data.get_or_init(|| data)
        };
        if overlaps(data, start, end) {
            rustix::fs::fallocate(
                self.file,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                start,
                end - start,
            )?;
        }
        Ok(())
    }
}

fn data_of(base: &File) -> io::Result<Vec<Extent>> {
    // A machine that was booted lies on one hole.
    if base.metadata()?.blocks() == 0 {
        return Ok(Vec::new());
    }
    files::data_extents(base)
}

fn overlaps(extents: &[Extent], start: u64, end: u64) -> bool {
    let next = extents.partition_point(|extent| extent.end <= start);
    extents.get(next).is_some_and(|extent| extent.start < end)
}

/// The mappings of a file, which together map all of it.
fn mappings_of_all(
    pid: u32,
    file: &fs_err::File,
    path: &Path,
) -> Result<Vec<Mapping>, MemoryError> {
    let metadata = file.metadata().map_err(MemoryError::Write)?;
    let path = fs_err::canonicalize(path).map_err(MemoryError::Write)?;
    let key = FileKey {
        dev: metadata.dev(),
        ino: metadata.ino(),
        path: &path,
    };
    let mappings = mappings_of(pid, key)?;
    let mapped = mappings
        .iter()
        .map(|mapping| mapping.end - mapping.start)
        .sum();
    if mapped == metadata.len() {
        Ok(mappings)
    } else {
        Err(MemoryError::NotMapped {
            mapped,
            wanted: metadata.len(),
        })
    }
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

    use super::{BATCH, FileKey, Mapping, batches, overlaps, parse_mapping, total};
    use crate::files::{Extent, PAGE};
    use crate::pagemap::Memory;

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
    fn stretches_are_read_in_batches_that_fit_the_buffer() {
        let (page, batch) = (PAGE as u64, BATCH as u64);
        assert!(batches(&[]).is_empty());
        assert_eq!(batches(&[0..page, page * 5..page * 9]).len(), 1);
        let long = [0..page, 4 * page..4 * page + batch + page];
        let cut = batches(&long);
        assert_eq!(cut.len(), 2);
        assert_eq!(cut[0], [0..page, 4 * page..3 * page + batch]);
        assert_eq!(cut[1].first(), Some(&(3 * page + batch..5 * page + batch)));
        assert_eq!(cut[1].len(), 1);
        let many: Vec<_> = (0..1500)
            .map(|at| at * 2 * page..(at * 2 + 1) * page)
            .collect();
        let cut = batches(&many);
        assert!(
            cut.iter()
                .all(|batch| total(batch) <= BATCH && batch.len() <= Memory::MOST)
        );
        assert_eq!(cut.concat(), many);
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
