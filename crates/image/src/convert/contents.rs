//! Writes the contents of files from a layer's stream to their places on a disk.

use std::io::{self, Read};

use bhatti_ext4::disk::WriteAt;
use bhatti_ext4::fill::Copy;
use bhatti_host::files::is_zero;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;
/// What is left out if it is zeros, for a new disk is zeros: a block of the file system.
const BLOCK: usize = 4096;

/// Why contents cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// The layer cannot be read, or is not the one that was looked at before.
    #[error("failed to read a layer")]
    Read(#[source] io::Error),
    /// The disk cannot be written.
    #[error("failed to write the disk")]
    Write(#[source] io::Error),
}

/// Reads a stream as far as needed and writes the pieces of it that are asked for, which are in
/// the order of the stream. Zeros are left out: the disk has to be new.
///
/// `progress` is told how many bytes have been written since it was called last; an error of it
/// ends the work.
pub fn write_contents(
    mut stream: impl Read,
    copies: &[Copy],
    disk: &impl WriteAt,
    mut progress: impl FnMut(u64) -> io::Result<()>,
) -> Result<(), ContentsError> {
    let mut position = 0;
    let mut run = Run {
        disk,
        buffer: Vec::with_capacity(BUFFER),
        at: 0,
    };
    for copy in copies {
        let skipped = copy.from.checked_sub(position);
        let skipped =
            skipped.ok_or_else(|| ContentsError::Read(io::ErrorKind::InvalidData.into()))?;
        skip(&mut stream, skipped).map_err(ContentsError::Read)?;
        let mut done = 0;
        while done < copy.len {
            let room = run.room_at(copy.to + done).map_err(ContentsError::Write)?;
            let len = (copy.len - done).min(room as u64);
            run.fill(&mut stream, len as usize)
                .map_err(ContentsError::Read)?;
            done += len;
            progress(len).map_err(ContentsError::Write)?;
        }
        position = copy.from + copy.len;
    }
    run.flush().map_err(ContentsError::Write)
}

fn skip(stream: &mut impl Read, len: u64) -> io::Result<()> {
    let skipped = io::copy(&mut stream.take(len), &mut io::sink())?;
    if skipped < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Bytes that go to one place, gathered from small files one after the other.
struct Run<'a, D> {
    disk: &'a D,
    buffer: Vec<u8>,
    at: u64,
}

impl<D: WriteAt> Run<'_, D> {
    /// Makes room for bytes that go to a place, and says how much there is.
    fn room_at(&mut self, to: u64) -> io::Result<usize> {
        let end = self.at + self.buffer.len() as u64;
        // What is left of a file's last block is zeros in any case.
        let follows = to == end || to == end.next_multiple_of(BLOCK as u64);
        let gap = to.saturating_sub(end) as usize;
        if !follows || self.buffer.len() + gap >= BUFFER {
            self.flush()?;
            self.at = to;
        } else {
            self.buffer.resize(self.buffer.len() + gap, 0);
        }
        Ok(BUFFER - self.buffer.len())
    }

    fn fill(&mut self, stream: &mut impl Read, len: usize) -> io::Result<()> {
        let start = self.buffer.len();
        self.buffer.resize(start + len, 0);
        stream.read_exact(&mut self.buffer[start..])
    }

    /// Writes what has been gathered, but for blocks of zeros.
    fn flush(&mut self) -> io::Result<()> {
        let mut start = 0;
        let mut from = 0;
        // The first block may begin in its middle.
        let mut end = BLOCK - (self.at % BLOCK as u64) as usize;
        while from < self.buffer.len() {
            let until = end.min(self.buffer.len());
            if is_zero(&self.buffer[from..until]) {
                self.write(start, from)?;
                start = until;
            }
            from = until;
            end = until + BLOCK;
        }
        self.write(start, self.buffer.len())?;
        self.buffer.clear();
        Ok(())
    }

    fn write(&self, start: usize, end: usize) -> io::Result<()> {
        if start == end {
            return Ok(());
        }
        let bytes = &self.buffer[start..end];
        self.disk.write_at(bytes, self.at + start as u64)
    }
}

#[cfg(test)]
mod test {
    use std::cell::RefCell;
    use std::io;

    use bhatti_ext4::disk::{ReadAt, WriteAt};
    use bhatti_ext4::fill::Copy;

    use super::{BUFFER, ContentsError, write_contents};

    /// Keeps what was written.
    #[derive(Default)]
    struct Writes(RefCell<Vec<(u64, Vec<u8>)>>);

    impl ReadAt for Writes {
        fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    impl WriteAt for Writes {
        fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
            self.0.borrow_mut().push((at, bytes.to_vec()));
            Ok(())
        }
    }

    fn copy(from: u64, len: u64, to: u64) -> Copy {
        Copy {
            source: 0,
            from,
            len,
            to,
        }
    }

    fn written(stream: &[u8], copies: &[Copy]) -> Vec<(u64, Vec<u8>)> {
        let disk = Writes::default();
        write_contents(stream, copies, &disk, |_| Ok(())).unwrap();
        disk.0.into_inner()
    }

    #[test]
    fn small_files_are_written_together_and_others_where_they_go() {
        let stream: Vec<u8> = (1..=200).collect();
        let copies = [
            copy(10, 5, 8192),
            copy(20, 2, 12288),
            copy(100, 3, 4096),
            copy(150, 1, 4101),
        ];
        let writes = written(&stream, &copies);
        assert_eq!(writes.len(), 3);
        assert_eq!(writes[0].0, 8192);
        assert_eq!(writes[0].1[..5], [11, 12, 13, 14, 15]);
        assert_eq!(writes[0].1[4096..], [21, 22]);
        assert!(writes[0].1[5..4096].iter().all(|byte| *byte == 0));
        assert_eq!(writes[1], (4096, vec![101, 102, 103]));
        assert_eq!(writes[2], (4101, vec![151]));
    }

    #[test]
    fn blocks_of_zeros_are_left_out() {
        let mut stream = vec![0; 5 * 4096];
        stream[2 * 4096 + 7] = 1;
        let writes = written(&stream, &[copy(0, 5 * 4096, 40960)]);
        let block = stream[2 * 4096..3 * 4096].to_vec();
        assert_eq!(writes, [(40960 + 2 * 4096, block)]);
        assert_eq!(written(&[0; 100], &[copy(0, 100, 4096)]), []);
    }

    #[test]
    fn a_file_larger_than_the_buffer_arrives_whole() {
        let stream: Vec<u8> = (0..3 * BUFFER).map(|at| (at % 251) as u8 + 1).collect();
        let writes = written(&stream, &[copy(5, 3 * BUFFER as u64 - 9, 4096)]);
        let mut disk = vec![0; 4 * BUFFER];
        for (at, bytes) in writes {
            disk[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
        }
        assert!(disk[4096..].starts_with(&stream[5..3 * BUFFER - 4]));
        assert!(disk[4096 + 3 * BUFFER - 9..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_stream_that_ends_too_early_is_an_error() {
        let disk = Writes::default();
        for copies in [[copy(5, 10, 0)], [copy(50, 1, 0)]] {
            let result = write_contents(&[1; 10][..], &copies, &disk, |_| Ok(()));
            assert!(matches!(result, Err(ContentsError::Read(_))));
        }
        let backwards = [copy(5, 2, 0), copy(1, 2, 0)];
        write_contents(&[1; 10][..], &backwards, &disk, |_| Ok(())).unwrap_err();
    }
}
