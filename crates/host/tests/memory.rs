//! Capturing memory of a real process: this one, which maps a file as a VMM maps guest memory.

#![expect(unsafe_code, reason = "a private mapping of a file is what is tested")]

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bhatti_host::files::{self, PAGE};
use bhatti_host::memory::{MemoryError, capture};
use proptest::prelude::*;
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_image_is_what_the_process_sees(
        data in prop::collection::btree_map(0..600usize, 1..=255u8, 0..60),
        accesses in prop::collection::vec(access(600), 0..200),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (base, image) = (dir.path().join("base"), dir.path().join("image"));
        files::create_sparse(&base, (600 * PAGE) as u64).unwrap();
        let file = fs_err::OpenOptions::new().write(true).open(&base).unwrap();
        for (page, byte) in &data {
            file.file().write_all_at(&[*byte; PAGE], (page * PAGE) as u64).unwrap();
        }
        let before = files::sparse_digest(&base).unwrap();
        let mut mapping = Mapping::of(&base);
        for access in &accesses {
            let bytes = mapping.bytes();
            match access {
                Access::Read(page) => { std::hint::black_box(bytes[page * PAGE]); }
                Access::Write(page, byte) => bytes[page * PAGE + 7] = *byte,
                Access::Zero(page) => bytes[page * PAGE..(page + 1) * PAGE].fill(0),
            }
        }
        let captured = capture(std::process::id(), &base, &image).unwrap();
        prop_assert!(fs_err::read(&image).unwrap() == mapping.bytes());
        prop_assert!(captured.zero_pages <= captured.private_pages);
        prop_assert_eq!(before, files::sparse_digest(&base).unwrap());
    }
}

#[test]
fn a_file_that_the_process_does_not_map_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (base, image) = (dir.path().join("base"), dir.path().join("image"));
    files::create_sparse(&base, 1 << 20).unwrap();
    let error = capture(std::process::id(), &base, &image).unwrap_err();
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
