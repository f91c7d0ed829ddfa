//! Digest tables of files that share blocks with others.

mod common;

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bhatti_host::extents::{self, Usage};
use bhatti_host::files::{self, Cloned};
use bhatti_host::sums::{self, CHUNK, Sums, SumsError, Work};
use proptest::prelude::*;
use rustix::fs::FallocateFlags;

use crate::common::Reflink;

/// Longest file, in bytes.
const LEN: u64 = 160 * CHUNK;

/// A change of a file.
#[derive(Debug, Clone)]
enum Change {
    Write { at: u64, len: usize, byte: u8 },
    Punch { at: u64, len: u64 },
    Allocate { at: u64, len: u64 },
    Cut(u64),
    Sync,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (0..LEN, 1..200_000usize, 0..=3u8)
            .prop_map(|(at, len, byte)| Change::Write { at, len, byte }),
        3 => (0..LEN, 1..300_000u64).prop_map(|(at, len)| Change::Punch { at, len }),
        1 => (0..LEN, 1..300_000u64).prop_map(|(at, len)| Change::Allocate { at, len }),
        1 => (1..LEN).prop_map(Change::Cut),
        1 => Just(Change::Sync),
    ]
}

fn apply(path: &Path, changes: &[Change]) {
    let file = fs_err::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("the file is there");
    let file = file.file();
    let allocate = |flags, at, len| {
        rustix::fs::fallocate(file, flags | FallocateFlags::KEEP_SIZE, at, len)
            .expect("the file can be changed");
    };
    for change in changes {
        match change {
            Change::Write { at, len, byte } => file
                .write_all_at(&vec![*byte; *len], *at)
                .expect("the file can be written"),
            Change::Punch { at, len } => allocate(FallocateFlags::PUNCH_HOLE, *at, *len),
            Change::Allocate { at, len } => allocate(FallocateFlags::empty(), *at, *len),
            Change::Cut(len) => file.set_len(*len).expect("the file can be cut"),
            Change::Sync => file.sync_all().expect("the file can be synced"),
        }
    }
}

fn open(path: &Path) -> std::fs::File {
    fs_err::File::open(path)
        .expect("the file can be opened")
        .into_parts()
        .0
}

/// A base is made by `before`, cloned, and the clone changed by `after`: its table is the same
/// with and without the base.
fn check(dir: &Path, before: &[Change], after: &[Change]) -> Result<(), TestCaseError> {
    let (base, copy) = (dir.join("base"), dir.join("copy"));
    files::create_sparse(&base, LEN).expect("the files can be made and read");
    apply(&base, before);
    let base_sums = sums::of(&open(&base), None).expect("the files can be made and read");
    files::clone_file(&base, &copy).expect("the files can be made and read");
    apply(&copy, after);
    let copy = open(&copy);
    let with =
        sums::of(&copy, Some((&open(&base), &base_sums))).expect("the files can be made and read");
    prop_assert!(with == sums::of(&copy, None).expect("the files can be made and read"));
    sums::verify(&copy, &with).expect("the files can be made and read");
    prop_assert_eq!(
        Sums::from_bytes(&with.to_bytes()).expect("the files can be made and read"),
        with
    );
    Ok(())
}

fn runner(cases: u32) -> proptest::test_runner::TestRunner {
    proptest::test_runner::TestRunner::new(ProptestConfig {
        cases,
        ..ProptestConfig::default()
    })
}

fn histories() -> impl Strategy<Value = (Vec<Change>, Vec<Change>)> {
    let changes = || prop::collection::vec(change(), 0..12);
    (changes(), changes())
}

#[test]
fn a_base_changes_no_digest_where_blocks_are_shared() {
    let Some(reflink) = Reflink::make() else {
        return;
    };
    runner(200)
        .run(&histories(), |(before, after)| {
            check(&reflink.path(), &before, &after)
        })
        .unwrap();
}

#[test]
fn a_base_changes_no_digest_where_blocks_are_not_shared() {
    let dir = tempfile::tempdir().unwrap();
    runner(32)
        .run(&histories(), |(before, after)| {
            check(dir.path(), &before, &after)
        })
        .unwrap();
}

#[test]
fn only_what_was_dirtied_is_read() {
    let Some(reflink) = Reflink::make() else {
        return;
    };
    let (base, copy) = (reflink.path().join("base"), reflink.path().join("copy"));
    let chunk = CHUNK as usize;
    let bytes: Vec<u8> = (0..LEN as u32).map(|at| (at / 1000) as u8 | 1).collect();
    fs_err::write(&base, &bytes).unwrap();
    let (table, work) = sums::of_counted(&open(&base), None).unwrap();
    let all = Work {
        read: 160,
        inherited: 0,
    };
    assert_eq!(work, all);
    assert_eq!(files::clone_file(&base, &copy).unwrap(), Cloned::Reflink);
    // Two chunks, one of them over a border of pages; nothing is synced.
    apply(
        &copy,
        &[
            Change::Write {
                at: 3 * CHUNK + 5,
                len: 10,
                byte: 200,
            },
            Change::Write {
                at: 8 * CHUNK + 4090,
                len: 10,
                byte: 201,
            },
        ],
    );
    let base_file = open(&base);
    let (changed, work) = sums::of_counted(&open(&copy), Some((&base_file, &table))).unwrap();
    assert_eq!(
        work,
        Work {
            read: 2,
            inherited: 158
        }
    );
    assert!(changed == sums::of(&open(&copy), None).unwrap());

    // Written again with the same bytes: other blocks, so it is read, and the same digest.
    files::clone_file(&base, &copy).unwrap();
    let same = fs_err::OpenOptions::new().write(true).open(&copy).unwrap();
    same.file()
        .write_all_at(&bytes[chunk..2 * chunk], CHUNK)
        .unwrap();
    let (again, work) = sums::of_counted(&open(&copy), Some((&base_file, &table))).unwrap();
    assert_eq!(work.read, 1);
    assert!(again == table);
}

#[test]
fn a_base_on_another_file_system_or_of_another_length_is_not_used() {
    let Some(reflink) = Reflink::make() else {
        return;
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let (base, copy) = (elsewhere.path().join("base"), reflink.path().join("copy"));
    fs_err::write(&base, vec![1; 300_000]).unwrap();
    let table = sums::of(&open(&base), None).unwrap();
    files::clone_file(&base, &copy).unwrap();
    let (_, work) = sums::of_counted(&open(&copy), Some((&open(&base), &table))).unwrap();
    assert_eq!(work.inherited, 0);

    // The base was changed since its table was made.
    let base = reflink.path().join("base");
    files::clone_file(&copy, &base).unwrap();
    apply(&base, &[Change::Cut(299_999)]);
    let (_, work) = sums::of_counted(&open(&copy), Some((&open(&base), &table))).unwrap();
    assert_eq!(work.inherited, 0);
}

#[test]
fn the_first_chunk_that_changed_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    files::create_sparse(&path, LEN + 17).unwrap();
    let write = |at, byte| {
        apply(&path, &[Change::Write { at, len: 1, byte }]);
    };
    write(5 * CHUNK, 1);
    write(LEN + 16, 1);
    let table = sums::of(&open(&path), None).unwrap();
    sums::verify(&open(&path), &table).unwrap();
    let first_bad = || match sums::verify(&open(&path), &table) {
        Err(SumsError::FirstBad { chunk }) => chunk,
        other => panic!("{other:?}"),
    };
    write(LEN + 16, 2);
    assert_eq!(first_bad(), 160);
    // Where a hole was.
    write(7 * CHUNK + 9, 1);
    assert_eq!(first_bad(), 7);
    // A hole where data was.
    apply(
        &path,
        &[Change::Punch {
            at: 5 * CHUNK,
            len: CHUNK,
        }],
    );
    assert_eq!(first_bad(), 5);
    apply(&path, &[Change::Cut(LEN)]);
    let error = sums::verify(&open(&path), &table).unwrap_err();
    assert!(matches!(error, SumsError::Length { .. }), "{error:?}");
}

#[test]
fn shared_and_own_blocks_are_told_apart() {
    let Some(reflink) = Reflink::make() else {
        return;
    };
    let (base, copy) = (reflink.path().join("base"), reflink.path().join("copy"));
    fs_err::write(&base, vec![1; 1 << 20]).unwrap();
    files::sync_file(&base).unwrap();
    let mb = |own_bytes, shared_bytes| Usage {
        own_bytes,
        shared_bytes,
    };
    assert_eq!(extents::usage(&base).unwrap(), mb(1 << 20, 0));
    files::clone_file(&base, &copy).unwrap();
    assert_eq!(extents::usage(&base).unwrap(), mb(0, 1 << 20));
    apply(
        &copy,
        &[
            Change::Write {
                at: 0,
                len: 1 << 18,
                byte: 2,
            },
            Change::Sync,
        ],
    );
    // The file system may have taken more than was written, to keep it together.
    let usage = extents::usage(&copy).unwrap();
    assert_eq!(usage.shared_bytes, (1 << 20) - (1 << 18), "{usage:?}");
    assert!((1 << 18..1 << 20).contains(&usage.own_bytes), "{usage:?}");
    assert_eq!(
        extents::usage(&base).unwrap(),
        mb(1 << 18, (1 << 20) - (1 << 18))
    );
}

#[test]
fn the_extents_of_a_file_in_many_pieces_are_all_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let pieces = 1500u64;
    files::create_sparse(&path, pieces * 8192).unwrap();
    let writes: Vec<Change> = (0..pieces)
        .map(|at| Change::Write {
            at: at * 8192,
            len: 4096,
            byte: 1,
        })
        .collect();
    apply(&path, &writes);
    let file = open(&path);
    let map = match extents::map(&file) {
        Ok(map) => map,
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported);
            eprintln!("skipped: the file system does not tell where files lie");
            return;
        }
    };
    let starts: Vec<u64> = map.iter().map(|extent| extent.logical).collect();
    let expected: Vec<u64> = (0..pieces).map(|at| at * 8192).collect();
    assert_eq!(starts, expected);
    assert!(map.iter().all(|extent| extent.settled && !extent.shared));
    assert_eq!(extents::count(&file).unwrap(), pieces);
}

/// A small file of all there is: zeros, data, a short end.
fn sample(dir: &Path) -> Sums {
    let path = dir.join("a");
    files::create_sparse(&path, 10 * CHUNK + 100).expect("the file can be made and read");
    for at in [0, 9 * CHUNK - 1, 10 * CHUNK + 99] {
        apply(
            &path,
            &[Change::Write {
                at,
                len: 1,
                byte: 7,
            }],
        );
    }
    sums::of(&open(&path), None).expect("the file can be made and read")
}

#[test]
fn the_tables_bytes_do_not_change_unnoticed() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = sample(dir.path()).to_bytes();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/sums-v1");
    if std::env::var_os("BLESS").is_some() {
        fs_err::write(golden, &bytes).unwrap();
    }
    assert!(bytes == fs_err::read(golden).unwrap());
}

#[test]
fn a_table_with_any_bit_changed_or_any_end_missing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let table = sample(dir.path());
    let bytes = table.to_bytes();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        Sums::from_bytes(&bad).unwrap_err();
        Sums::from_bytes(&bytes[..at]).unwrap_err();
    }
    let path = dir.path().join("a.sums");
    assert_eq!(table.write(&path).unwrap(), sums::digest(&bytes));
    assert_eq!(Sums::read_from(&path, table.len()).unwrap(), table);
    Sums::read_from(&path, table.len() - 1).unwrap_err();
    Sums::read_from(&path, 0).unwrap_err();
    Sums::read_from(&path, u64::MAX).unwrap_err();
}

proptest! {
    #[test]
    fn a_table_that_says_anything_is_read_or_refused(
        header in prop::collection::vec(any::<u64>(), 3),
        body in prop::collection::vec(any::<u8>(), 0..200),
        small in any::<bool>(),
    ) {
        let mut bytes = b"bhatti-sums\0\0\0\0\0\x01\0\0\0\0\x40\0\0".to_vec();
        for number in header {
            let number = if small { number % 300_000 } else { number };
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&body);
        let own = sums_own(&bytes);
        bytes.extend_from_slice(&own);
        if let Ok(table) = Sums::from_bytes(&bytes) {
            prop_assert_eq!(table.to_bytes(), bytes);
        }
    }
}

/// The digest that ends a table.
fn sums_own(bytes: &[u8]) -> Vec<u8> {
    let hex = sums::digest(bytes);
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("a digest is hexadecimal"))
        .collect()
}

#[test]
fn a_table_of_many_chunks_is_that_of_each_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("many");
    let chunk = CHUNK as usize;
    // Long enough for two threads, with a hole and a last chunk that is short.
    let mut bytes: Vec<u8> = (0..1000 * chunk + 5).map(|at| (at / 1000) as u8).collect();
    bytes[300 * chunk..400 * chunk].fill(0);
    fs_err::write(&path, &bytes).unwrap();
    let file = fs_err::File::open(&path).unwrap();
    let file = file.file();
    let (whole, work) = sums::of_counted(file, None).unwrap();
    assert_eq!(work.read, 1001);
    for at in [0, 10, 299, 400, 450, 550, 999, 1000] {
        let mut bad = bytes.clone();
        bad[at * chunk + 1] ^= 1;
        fs_err::write(&path, &bad).unwrap();
        let found = sums::verify(file, &whole).unwrap_err();
        let expected = at as u64;
        assert!(
            matches!(found, SumsError::FirstBad { chunk } if chunk == expected),
            "{found:?}"
        );
    }
    fs_err::write(&path, &bytes).unwrap();
    sums::verify(file, &whole).unwrap();
}
