//! What the program writes, kept in two files: the newer one, and the one before it.
//!
//! A file that is full becomes the older one, whose bytes are then gone. So the log is bounded, and
//! of what was written last at least one file's worth is there.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Most bytes of one file.
pub(crate) const MAX_FILE: u64 = 4 << 20;
/// Most bytes given at once.
pub(crate) const PIECE: usize = bhatti_proto::codec::MAX_CHUNK;
/// Name of the newer file in the log's directory; the older one has `.1` after it.
const NAME: &str = "run.log";

/// The log. Its methods block, as files do.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    max: u64,
    state: Mutex<State>,
    /// Told how much was ever written.
    written: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    newer: Option<Newer>,
    /// How often a file became the older one.
    rotations: u64,
}

#[derive(Debug)]
struct Newer {
    file: File,
    size: u64,
}

/// How far somebody has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The rotations at the time when the file read was the newer one.
    rotation: u64,
    offset: u64,
}

impl Log {
    /// A log in a directory, which is made when something is written.
    pub(crate) fn new(dir: PathBuf) -> Arc<Self> {
        Self::of_size(dir, MAX_FILE)
    }

    fn of_size(dir: PathBuf, max: u64) -> Arc<Self> {
        Arc::new(Self {
            dir,
            max,
            state: Mutex::default(),
            written: watch::Sender::new(0),
        })
    }

    /// Tells of everything that is written from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Writes at the end.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        self.append_to(&mut state, bytes)?;
        drop(state);
        self.written
            .send_modify(|written| *written += bytes.len() as u64);
        Ok(())
    }

    fn append_to(&self, state: &mut State, bytes: &[u8]) -> io::Result<()> {
        if state.newer.is_none() {
            state.newer = Some(self.open()?);
        }
        let full = |newer: &Newer| newer.size > 0 && newer.size + bytes.len() as u64 > self.max;
        if state.newer.as_ref().is_some_and(full) {
            state.newer = None;
            fs::rename(self.path(), self.older())?;
            state.rotations += 1;
            state.newer = Some(self.open()?);
        }
        if let Some(newer) = &mut state.newer {
            newer.file.write_all(bytes)?;
            newer.size += bytes.len() as u64;
        }
        Ok(())
    }

    /// Where to begin reading for the last `lines` lines, or all that is there.
    pub(crate) fn begin(&self, lines: Option<u32>) -> io::Result<Position> {
        let state = self.state();
        let older = Position {
            rotation: state.rotations.wrapping_sub(1),
            offset: 0,
        };
        let newer = Position {
            rotation: state.rotations,
            offset: 0,
        };
        let there = self.older().exists();
        let Some(lines) = lines else {
            return Ok(if there { older } else { newer });
        };
        let (found, missing) = last_lines(&self.path(), lines)?;
        if missing == 0 || !there {
            return Ok(Position {
                offset: found,
                ..newer
            });
        }
        let (found, _) = last_lines(&self.older(), missing)?;
        Ok(Position {
            offset: found,
            ..older
        })
    }

    /// The next piece, and where it ends; an empty one if nothing more is there yet.
    pub(crate) fn read(&self, from: Position) -> io::Result<(Vec<u8>, Position)> {
        let state = self.state();
        let mut at = from;
        let older = state.rotations.wrapping_sub(1);
        if at.rotation != state.rotations && at.rotation != older {
            // What was to be read is gone.
            at = Position {
                rotation: older,
                offset: 0,
            };
        }
        if at.rotation == older {
            let piece = piece(&self.older(), at.offset)?;
            if !piece.is_empty() {
                at.offset += piece.len() as u64;
                return Ok((piece, at));
            }
            at = Position {
                rotation: state.rotations,
                offset: 0,
            };
        }
        let piece = piece(&self.path(), at.offset)?;
        at.offset += piece.len() as u64;
        Ok((piece, at))
    }

    fn open(&self) -> io::Result<Newer> {
        fs::create_dir_all(&self.dir)?;
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(self.path())?;
        let size = file.metadata()?.len();
        Ok(Newer { file, size })
    }

    fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    fn older(&self) -> PathBuf {
        self.dir.join(format!("{NAME}.1"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every statement, so a poisoned lock is as good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A piece of a file; empty at its end, and if there is none.
fn piece(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let Some(mut file) = open(path)? else {
        return Ok(Vec::new());
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut piece = Vec::new();
    file.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(piece)
}

/// Where the last lines of a file begin, and how many there are too few.
fn last_lines(path: &Path, lines: u32) -> io::Result<(u64, u32)> {
    let Some(mut file) = open(path)? else {
        return Ok((0, lines));
    };
    if lines == 0 {
        return Ok((file.metadata()?.len(), 0));
    }
    // Where lines begin: the last so many of them, and one for the end of the last line.
    let mut begins = VecDeque::from([0]);
    let mut at = 0;
    let mut chunk = vec![0; PIECE];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        for (index, _) in chunk[..read]
            .iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
        {
            begins.push_back(at + index as u64 + 1);
            if begins.len() > lines as usize + 1 {
                begins.pop_front();
            }
        }
        at += read as u64;
    }
    // A line that begins at the end of the file is none.
    if begins.back() == Some(&at) {
        begins.pop_back();
    } else if begins.len() > lines as usize {
        begins.pop_front();
    }
    let begin = begins.front().copied().unwrap_or(at);
    Ok((begin, lines - (begins.len() as u32).min(lines)))
}

fn open(path: &Path) -> io::Result<Option<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod test {
    use std::sync::Arc;

    use super::{Log, Position};

    fn log(max: u64) -> (tempfile::TempDir, Arc<Log>) {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::of_size(dir.path().join("log"), max);
        (dir, log)
    }

    fn rest(log: &Log, mut at: Position) -> (String, Position) {
        let mut all = Vec::new();
        loop {
            let (piece, next) = log.read(at).unwrap();
            at = next;
            if piece.is_empty() {
                return (String::from_utf8(all).unwrap(), at);
            }
            all.extend(piece);
        }
    }

    fn tail(log: &Log, lines: u32) -> String {
        rest(log, log.begin(Some(lines)).unwrap()).0
    }

    #[test]
    fn an_empty_log_has_nothing_to_read() {
        let (_dir, log) = log(100);
        assert_eq!(rest(&log, log.begin(None).unwrap()).0, "");
        assert_eq!(tail(&log, 5), "");
    }

    #[test]
    fn the_last_lines_are_found_with_and_without_an_end() {
        let (_dir, log) = log(100);
        log.append(b"one\ntwo\n").unwrap();
        for (lines, expected) in [(0, ""), (1, "two\n"), (2, "one\ntwo\n"), (9, "one\ntwo\n")] {
            assert_eq!(tail(&log, lines), expected, "{lines}");
        }
        log.append(b"thr").unwrap();
        for (lines, expected) in [(0, ""), (1, "thr"), (2, "two\nthr"), (3, "one\ntwo\nthr")] {
            assert_eq!(tail(&log, lines), expected, "{lines}");
        }
    }

    #[test]
    fn the_log_is_bounded_and_keeps_what_came_last() {
        let (dir, log) = log(10);
        for number in 0..50 {
            log.append(format!("{number:03}\n").as_bytes()).unwrap();
        }
        assert_eq!(
            rest(&log, log.begin(None).unwrap()).0,
            "046\n047\n048\n049\n"
        );
        assert_eq!(tail(&log, 3), "047\n048\n049\n");
        let sizes = fs_err::read_dir(dir.path().join("log")).unwrap();
        let sizes: u64 = sizes
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert!(sizes <= 20, "{sizes}");
    }

    #[test]
    fn who_reads_on_misses_nothing_that_is_still_there() {
        let (_dir, log) = log(10);
        log.append(b"a\n").unwrap();
        let (_, at) = rest(&log, log.begin(None).unwrap());
        log.append(b"b\n").unwrap();
        log.append(b"cccccc\n").unwrap();
        log.append(b"d\n").unwrap();
        let (text, at) = rest(&log, at);
        assert_eq!(text, "b\ncccccc\nd\n");
        // Two rotations further: what is gone is passed over.
        for line in ["eeeeeee\n", "fffffff\n", "ggggggg\n"] {
            log.append(line.as_bytes()).unwrap();
        }
        assert_eq!(rest(&log, at).0, "fffffff\nggggggg\n");
    }

    #[test]
    fn a_log_goes_on_after_a_boot() {
        let (dir, log) = log(10);
        log.append(b"before\n").unwrap();
        let again = Log::of_size(dir.path().join("log"), 10);
        again.append(b"after\n").unwrap();
        assert_eq!(
            rest(&again, again.begin(None).unwrap()).0,
            "before\nafter\n"
        );
    }
}
