//! Where a file system is: something that is read and written at places.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Something that can be read anywhere.
pub trait ReadAt {
    /// Fills the buffer from a place; an error where there are not as many bytes.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

/// Something that can be written anywhere as well.
pub trait WriteAt: ReadAt {
    /// Writes all bytes to a place.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }
}

impl WriteAt for File {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let there = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let bytes = there.and_then(|there| there.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}
