//! Files that a crash leaves whole or not there at all.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

/// The page size that sparse files are looked at in, in bytes.
pub const PAGE: usize = 4096;

/// Longest stretch copied by one system call, in bytes.
const COPY_CHUNK: u64 = 8 << 20;

/// How a file came to be a copy of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloned {
    /// The blocks are shared until written (FICLONE).
    Reflink,
    /// The data was copied, holes kept, because the file system cannot share blocks.
    Copied {
        /// How much data there was, in bytes.
        bytes: u64,
    },
}

/// A stretch of a file that holds data, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins.
    pub start: u64,
    /// Where it ends (exclusive).
    pub end: u64,
}

/// Writes a file so that after a crash it holds either the old or the new bytes: written aside,
/// synced, renamed, the directory synced.
pub fn write_durable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = parent(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = dir.join(format!(".{name}.new"));
    let mut file = fs_err::File::create(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs_err::rename(&aside, path)?;
    sync_dir(dir)
}

/// Makes the entries of a directory durable.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    fs_err::File::open(dir)?.sync_all()
}

/// Makes the data of a file durable.
pub fn sync_file(path: &Path) -> io::Result<()> {
    fs_err::File::open(path)?.sync_all()
}

/// Moves a file or directory and makes the move durable. Both ends are on one file system.
pub fn rename_durable(from: &Path, to: &Path) -> io::Result<()> {
    fs_err::rename(from, to)?;
    sync_dir(parent(to)?)?;
    if parent(from)? != parent(to)? {
        sync_dir(parent(from)?)?;
    }
    Ok(())
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a directory"))
}

/// Deletes a directory and all in it. Success if it is not there.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    match fs_err::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Deletes a file. Success if it is not there.
pub fn remove_file(path: &Path) -> io::Result<()> {
    match fs_err::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a file of `len` bytes that is one hole. An existing one is replaced, not emptied: it may
/// be linked elsewhere.
pub fn create_sparse(path: &Path, len: u64) -> io::Result<()> {
    create_anew(path)?.set_len(len)
}

/// Makes a file that did not exist a moment ago.
fn create_anew(path: &Path) -> io::Result<fs_err::File> {
    remove_file(path)?;
    fs_err::OpenOptions::new()
        .create_new(true)
        .read(true)
        .write(true)
        .open(path)
}

/// What a file takes on disk, in bytes; blocks shared with other files are counted.
pub fn disk_usage(path: &Path) -> io::Result<u64> {
    Ok(fs_err::metadata(path)?.blocks() * 512)
}

/// Copies a file by sharing its blocks, or else its data with the holes kept. An existing copy is
/// replaced. The copy is not yet durable.
pub fn clone_file(from: &Path, to: &Path) -> io::Result<Cloned> {
    clone_until(from, to, &AtomicBool::new(false))
}

/// [`clone_file`], which a set flag breaks off: an error of the kind `Interrupted`.
pub fn clone_until(from: &Path, to: &Path, cancel: &AtomicBool) -> io::Result<Cloned> {
    let source = fs_err::File::open(from)?;
    let target = create_anew(to)?;
    match rustix::fs::ioctl_ficlone(&target, &source) {
        Ok(()) => Ok(Cloned::Reflink),
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => {
            let bytes = copy_sparse(source.file(), target.file(), cancel)?;
            Ok(Cloned::Copied { bytes })
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Copies the data of a file with the holes kept and shares no blocks with it: the copy lies in
/// few pieces, however many the file lies in. An existing copy is replaced. A set flag breaks it
/// off: an error of the kind `Interrupted`. The copy is not yet durable.
pub fn copy_whole(from: &Path, to: &Path, cancel: &AtomicBool) -> io::Result<Cloned> {
    let source = fs_err::File::open(from)?;
    let target = create_anew(to)?;
    target.set_len(source.metadata()?.len())?;
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 20];
    for extent in data_extents(source.file())? {
        let mut at = extent.start;
        while at < extent.end {
            go_on(cancel)?;
            let want = (extent.end - at).min(buffer.len() as u64) as usize;
            source.file().read_exact_at(&mut buffer[..want], at)?;
            target.file().write_all_at(&buffer[..want], at)?;
            at += want as u64;
            bytes += want as u64;
        }
    }
    Ok(Cloned::Copied { bytes })
}

fn go_on(cancel: &AtomicBool) -> io::Result<()> {
    if cancel.load(Ordering::Relaxed) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    Ok(())
}

/// Copies the data of a file into another, empty one, leaving holes as holes.
fn copy_sparse(
    source: &std::fs::File,
    target: &std::fs::File,
    cancel: &AtomicBool,
) -> io::Result<u64> {
    let len = source.metadata()?.len();
    target.set_len(len)?;
    let mut copied = 0;
    for extent in data_extents(source)? {
        let (mut from, mut to) = (extent.start, extent.start);
        while from < extent.end {
            go_on(cancel)?;
            let want = (extent.end - from).min(COPY_CHUNK) as usize;
            let n = match rustix::fs::copy_file_range(
                source,
                Some(&mut from),
                target,
                Some(&mut to),
                want,
            ) {
                Ok(n) => n,
                // Across file systems, or on one that can't: through this process.
                Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    let n = copy_by_hand(source, target, from, want)?;
                    from += n as u64;
                    to += n as u64;
                    n
                }
                Err(errno) => return Err(errno.into()),
            };
            if n == 0 {
                // The source was cut short meanwhile.
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            copied += n as u64;
        }
    }
    Ok(copied)
}

fn copy_by_hand(
    source: &std::fs::File,
    target: &std::fs::File,
    at: u64,
    want: usize,
) -> io::Result<usize> {
    let mut buffer = vec![0; want.min(1 << 20)];
    let n = source.read_at(&mut buffer, at)?;
    target.write_all_at(&buffer[..n], at)?;
    Ok(n)
}

/// The stretches of a file that hold data, in order. A file system that cannot tell gives one.
pub fn data_extents(file: &std::fs::File) -> io::Result<Vec<Extent>> {
    let len = file.metadata()?.len();
    let mut extents = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data from here to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => return Ok(vec![Extent { start: 0, end: len }]),
            Err(errno) => return Err(errno.into()),
        };
        let end = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(start))?.min(len);
        extents.push(Extent { start, end });
        at = end;
    }
    Ok(extents)
}

/// The BLAKE3 digest of what a file holds, in hexadecimal, whatever its holes: pages of zeros are
/// left out, every other page goes in behind its offset, the length at the end.
pub fn sparse_digest(path: &Path) -> io::Result<String> {
    let mut file = fs_err::File::open(path)?;
    let len = file.metadata()?.len();
    let extents = data_extents(file.file())?;
    let mut digest = Digest::default();
    let mut buffer = vec![0u8; 1 << 20];
    let page = PAGE as u64;
    let mut done = 0;
    for extent in extents {
        // Whole pages, each once: extents may begin and end within one.
        let mut at = (extent.start / page * page).max(done);
        let end = extent.end.next_multiple_of(page).min(len);
        file.seek(SeekFrom::Start(at))?;
        while at < end {
            let want = (buffer.len() as u64).min(end - at) as usize;
            let filled = read_full(&mut file, &mut buffer[..want])?;
            if filled == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for (index, bytes) in buffer[..filled].chunks(PAGE).enumerate() {
                if !is_zero(bytes) {
                    digest.update(&(at + (index * PAGE) as u64).to_le_bytes());
                    digest.update(bytes);
                }
            }
            at += filled as u64;
        }
        done = at;
    }
    digest.update(&len.to_le_bytes());
    Ok(digest.finish())
}

/// BLAKE3 over many small pieces. It hashes many parts of a long input at once, so the pieces are
/// put together first: that is three times as fast as hashing them one by one.
#[derive(Default)]
struct Digest {
    hasher: blake3::Hasher,
    waiting: Vec<u8>,
}

impl Digest {
    /// What is hashed at once, in bytes. A power of two, so that what follows is at its place in
    /// BLAKE3's tree.
    const BATCH: usize = 1 << 18;

    fn update(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= Self::BATCH {
            self.hasher.update(&self.waiting[..Self::BATCH]);
            self.waiting.drain(..Self::BATCH);
        }
    }

    fn finish(mut self) -> String {
        self.hasher.update(&self.waiting);
        self.hasher.finalize().to_hex().to_string()
    }
}

fn read_full(file: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Whether all bytes are zero.
pub fn is_zero(bytes: &[u8]) -> bool {
    // Eight at a time: this runs over every dirty page of a guest.
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| u64::from_ne_bytes(*word) == 0) && rest.iter().all(|b| *b == 0)
}

/// Reads a whole file that has at most `limit` bytes.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = fs_err::File::open(path)?;
    let mut bytes = Vec::new();
    io::Read::by_ref(&mut file)
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is larger than it may be",
        ));
    }
    Ok(bytes)
}

/// Writes all bytes at an offset.
pub(crate) fn write_all_at(file: &std::fs::File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at)
}

#[cfg(test)]
mod test {
    use std::os::unix::fs::FileExt as _;

    use super::{clone_file, create_sparse, data_extents, is_zero, sparse_digest, write_durable};

    #[test]
    fn a_copy_keeps_holes_and_content() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        create_sparse(&from, 64 << 20).unwrap();
        let file = fs_err::OpenOptions::new().write(true).open(&from).unwrap();
        file.file().write_all_at(b"hello", 10 << 20).unwrap();
        file.file().write_all_at(&[7; 9000], 33 << 20).unwrap();
        clone_file(&from, &to).unwrap();
        assert_eq!(sparse_digest(&from).unwrap(), sparse_digest(&to).unwrap());
        assert_eq!(fs_err::metadata(&to).unwrap().len(), 64 << 20);
        assert!(super::disk_usage(&to).unwrap() < 1 << 20);
        let copy = fs_err::File::open(&to).unwrap();
        assert!(data_extents(copy.file()).unwrap().len() >= 2);
    }

    #[test]
    fn the_digest_sees_content_and_place_but_not_holes() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let mut bytes = vec![0u8; 5 * 4096 + 17];
        bytes[4096 + 3] = 1;
        bytes[5 * 4096 + 16] = 9;
        fs_err::write(&a, &bytes).unwrap();
        create_sparse(&b, bytes.len() as u64).unwrap();
        let file = fs_err::OpenOptions::new().write(true).open(&b).unwrap();
        file.file().write_all_at(&[1], 4096 + 3).unwrap();
        file.file().write_all_at(&[9], 5 * 4096 + 16).unwrap();
        let digest = sparse_digest(&a).unwrap();
        assert_eq!(digest, sparse_digest(&b).unwrap());
        file.file().write_all_at(&[9], 2 * 4096).unwrap();
        assert_ne!(digest, sparse_digest(&b).unwrap());
        file.file().write_all_at(&[0], 2 * 4096).unwrap();
        assert_eq!(digest, sparse_digest(&b).unwrap());
        file.file().set_len(6 * 4096).unwrap();
        assert_ne!(digest, sparse_digest(&b).unwrap());
    }

    #[test]
    fn the_digest_of_a_long_file_is_that_of_its_pages_one_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes: Vec<u8> = (0..900_000_u32).flat_map(u32::to_le_bytes).collect();
        fs_err::write(&path, &bytes).unwrap();
        let mut hasher = blake3::Hasher::new();
        for (index, page) in bytes.chunks(4096).enumerate() {
            hasher.update(&(index as u64 * 4096).to_le_bytes());
            hasher.update(page);
        }
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        let whole = hasher.finalize().to_hex().to_string();
        assert_eq!(sparse_digest(&path).unwrap(), whole);
    }

    #[test]
    fn a_durable_write_replaces_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write_durable(&path, b"one").unwrap();
        write_durable(&path, b"two").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"two");
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn zero_is_told_from_not_zero_at_every_end() {
        let mut page = [0u8; 4096];
        assert!(is_zero(&page));
        page[4095] = 1;
        assert!(!is_zero(&page));
        assert!(!is_zero(&[0, 0, 1]));
        assert!(is_zero(&[]));
    }
}
