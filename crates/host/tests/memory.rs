//! Capturing memory of a real process: this one, which maps a file as a VMM maps guest memory.

#![expect(unsafe_code, reason = "a private mapping of a file is what is tested")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use bhatti_host::extents;
use bhatti_host::files::{self, PAGE};
use bhatti_host::memory::{MemoryError, capture};
use proptest::prelude::*;

use crate::common::Reflink;
use rustix::mm::{MapFlags, ProtFlags};

/// A private mapping of a whole file.
struct Mapping {
    at: *mut u8,
    len: usize,
}

impl Mapping {
    fn of(path: &Path) -> Self {
        let file = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .expect("the file and its mapping can be made");
        let len = file
            .metadata()
            .expect("the file and its mapping can be made")
            .len() as usize;
        // SAFETY: a new mapping at an address the kernel chooses touches no other memory.
        let at = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
                &file,
                0,
            )
        };
        Self {
            at: at.expect("the file and its mapping can be made").cast(),
            len,
        }
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is readable and writable, has this length, lives as long as `self`,
        // and nobody else writes to it or to the file.
        unsafe { std::slice::from_raw_parts_mut(self.at, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this one's, and no slice of it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.at.cast(), self.len) };
    }
}

#[derive(Debug, Clone)]
enum Access {
    Read(usize),
    Write(usize, u8),
    Zero(usize),
}

fn access(pages: usize) -> impl Strategy<Value = Access> {
    prop_oneof![
        (0..pages).prop_map(Access::Read),
        (0..pages, 1..=255u8).prop_map(|(page, byte)| Access::Write(page, byte)),
        (0..pages).prop_map(Access::Zero),
    ]
}

/// What a base holds, and what is done to its mapping.
type History = (BTreeMap<usize, u8>, Vec<Access>);

fn history() -> impl Strategy<Value = History> {
    (
        prop::collection::btree_map(0..600usize, 1..=255u8, 0..60),
        prop::collection::vec(access(600), 0..200),
    )
}

fn check(dir: &Path, (data, accesses): History) -> Result<(), TestCaseError> {
    let (base, image) = (dir.join("base"), dir.join("image"));
    files::create_sparse(&base, (600 * PAGE) as u64).expect("the base can be made");
    let file = fs_err::OpenOptions::new().write(true).open(&base);
    let file = file.expect("the base is there");
    for (page, byte) in &data {
        file.file()
            .write_all_at(&[*byte; PAGE], (page * PAGE) as u64)
            .expect("the base can be written");
    }
    let digest = || files::sparse_digest(&base).expect("the base can be read");
    let before = digest();
    let mut mapping = Mapping::of(&base);
    for access in &accesses {
        let bytes = mapping.bytes();
        match access {
            Access::Read(page) => {
                std::hint::black_box(bytes[page * PAGE]);
            }
            Access::Write(page, byte) => bytes[page * PAGE + 7] = *byte,
            Access::Zero(page) => bytes[page * PAGE..(page + 1) * PAGE].fill(0),
        }
    }
    let captured = capture(std::process::id(), &base, &image, &AtomicBool::new(false));
    let captured = captured.expect("memory is captured");
    prop_assert!(fs_err::read(&image).expect("it is there") == mapping.bytes());
    prop_assert!(captured.zero_pages <= captured.private_pages);
    prop_assert!(!captured.merged);
    prop_assert_eq!(before, digest());
    Ok(())
}

fn runner() -> proptest::test_runner::TestRunner {
    proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 64,
        ..ProptestConfig::default()
    })
}

#[test]
fn the_image_is_what_the_process_sees() {
    let dir = tempfile::tempdir().unwrap();
    let checked = runner().run(&history(), |history| check(dir.path(), history));
    checked.unwrap();
}

#[test]
fn the_image_is_what_the_process_sees_where_blocks_are_shared() {
    let Some(reflink) = Reflink::make() else {
        return;
    };
    let checked = runner().run(&history(), |history| check(&reflink.path(), history));
    checked.unwrap();
}

#[test]
fn an_image_takes_what_was_written_and_little_more() {
    let Some(reflink) = Reflink::make() else {
        return;
    };
    let (base, image) = (reflink.path().join("base"), reflink.path().join("image"));
    fs_err::write(&base, vec![1; 64 << 20]).unwrap();
    let mut mapping = Mapping::of(&base);
    let pages = 256;
    for at in 0..pages {
        mapping.bytes()[at * 64 * PAGE] = 9;
    }
    let captured = capture(std::process::id(), &base, &image, &AtomicBool::new(false)).unwrap();
    assert_eq!(captured.private_pages, pages as u64);
    files::sync_file(&image).unwrap();
    let own = extents::usage(&image).unwrap().own_bytes;
    let written = (pages * PAGE) as u64;
    assert!((written..written * 5 / 4).contains(&own), "{own}");
}

#[test]
fn a_capture_that_is_cancelled_stops() {
    let dir = tempfile::tempdir().unwrap();
    let (base, image) = (dir.path().join("base"), dir.path().join("image"));
    files::create_sparse(&base, 1 << 20).unwrap();
    let mut mapping = Mapping::of(&base);
    mapping.bytes()[0] = 1;
    let capture = |cancel| capture(std::process::id(), &base, &image, &AtomicBool::new(cancel));
    let error = capture(true).unwrap_err();
    assert!(matches!(error, MemoryError::Cancelled), "{error:?}");
    // It can be tried again.
    assert_eq!(capture(false).unwrap().private_pages, 1);
    assert!(fs_err::read(&image).unwrap() == mapping.bytes());
}

/// Writes every other page of a file, so that it lies in that many pieces more.
fn break_up(path: &Path, pieces: u64) {
    let file = fs_err::OpenOptions::new().write(true).open(path);
    let file = file.expect("the file is there");
    for piece in 0..pieces {
        file.file()
            .write_all_at(&[piece as u8 | 1; PAGE], piece * 2 * PAGE as u64)
            .expect("the file can be written");
    }
    file.sync_all().expect("the file can be synced");
    assert!(extents::count(file.file()).expect("it is mapped") >= pieces);
}

#[test]
fn a_base_broken_into_very_many_pieces_is_not_shared_any_more() {
    const PIECES: u64 = 20_001;
    let Some(reflink) = Reflink::make() else {
        return;
    };
    let path = |name| reflink.path().join(name);
    let (first, base, image) = (path("first"), path("base"), path("image"));
    fs_err::write(&first, vec![255; PIECES as usize * 2 * PAGE]).unwrap();
    files::clone_file(&first, &base).unwrap();
    break_up(&base, PIECES);
    let mut mapping = Mapping::of(&base);
    for at in 0..3000 {
        mapping.bytes()[at * PAGE] = 9;
    }
    mapping.bytes()[4000 * PAGE..4001 * PAGE].fill(0);
    let captured = capture(std::process::id(), &base, &image, &AtomicBool::new(false)).unwrap();
    assert!(captured.merged);
    assert!(fs_err::read(&image).unwrap() == mapping.bytes());
    files::sync_file(&image).unwrap();
    assert_eq!(extents::usage(&image).unwrap().shared_bytes, 0);
}

#[test]
fn a_base_of_very_many_holes_is_still_shared() {
    const PIECES: u64 = 20_001;
    let Some(reflink) = Reflink::make() else {
        return;
    };
    let (base, image) = (reflink.path().join("base"), reflink.path().join("image"));
    files::create_sparse(&base, PIECES * 2 * PAGE as u64).unwrap();
    break_up(&base, PIECES);
    let _mapping = Mapping::of(&base);
    let captured = capture(std::process::id(), &base, &image, &AtomicBool::new(false)).unwrap();
    assert!(!captured.merged);
    assert!(extents::usage(&image).unwrap().shared_bytes >= PIECES * PAGE as u64);
}

#[test]
fn a_file_that_the_process_does_not_map_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (base, image) = (dir.path().join("base"), dir.path().join("image"));
    files::create_sparse(&base, 1 << 20).unwrap();
    let error = capture(std::process::id(), &base, &image, &AtomicBool::new(false)).unwrap_err();
    assert!(
        matches!(
            error,
            MemoryError::NotMapped {
                mapped: 0,
                wanted: 1_048_576
            }
        ),
        "{error:?}"
    );
    assert!(!image.exists());
}
