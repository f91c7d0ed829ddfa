//! Trees that were written and are read again.

use bhatti_ext4::disk::ReadAt as _;
use bhatti_ext4::fuzz;
use bhatti_ext4::read::{ReadError, ReadLimits, read};
use bhatti_ext4::tree::{Content, Device, InodeId, Names, Tree};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};

use crate::fill::{Grove, dir, file, meta, of, xattr};
use crate::programs::{Disk, have_programs, run};

/// Everything about a tree in the order of its names, contents included.
fn described(tree: &Tree, content: &dyn Fn(u64, u64) -> Vec<u8>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut seen = std::collections::HashMap::new();
    let mut waiting = vec![(Vec::new(), InodeId::ROOT)];
    while let Some((path, id)) = waiting.pop() {
        let inode = tree.get(id).unwrap();
        let next = seen.len();
        let number = *seen.entry(id).or_insert(next);
        let what = match &inode.content {
            Content::Directory(names) => {
                for (name, id) in names {
                    waiting.push(([&path[..], b"/", name].concat(), *id));
                }
                "/".to_owned()
            }
            Content::File(data) => {
                // A hole and zeros read the same.
                let mut bytes = vec![0; data.size as usize];
                for piece in &data.pieces {
                    let (at, len) = (piece.at as usize, piece.len as usize);
                    bytes[at..at + len].copy_from_slice(&content(piece.from, piece.len));
                }
                format!(
                    "{:?}",
                    bytes
                        .iter()
                        .enumerate()
                        .filter(|(_, b)| **b != 0)
                        .take(9000)
                        .collect::<Vec<_>>()
                )
            }
            other => format!("{other:?}"),
        };
        let path = String::from_utf8_lossy(&path).into_owned();
        lines.push(format!("{path} #{number} {:?} {what}", inode.meta));
    }
    lines
}

/// Writes a tree, has it checked, and reads it again.
fn round_trip(tree: &Tree, source: &[u8]) {
    let disk = Disk::new(tree);
    disk.fill(tree, source);
    disk.check();
    let file = disk.file();
    let found = read(&file, &ReadLimits::DEFAULT).unwrap();
    let on_disk = |from, len| {
        let mut bytes = vec![0; len as usize];
        file.read_at(&mut bytes, from).unwrap();
        bytes
    };
    let in_source = |from: u64, len: u64| source[from as usize..(from + len) as usize].to_vec();
    let (found, written) = (described(&found, &on_disk), described(tree, &in_source));
    for (found, written) in found.iter().zip(&written) {
        assert_eq!(found, written);
    }
    assert_eq!(found.len(), written.len());
}

/// One step of making a tree: where it happens, under which name, and what.
type Step = (usize, String, u8, u64, Vec<(u8, Vec<u8>)>);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = prop_oneof!["[a-z]{1,3}", "[a-z]{200,255}", "[a-zé ]{1,40}"];
    let values = vec((any::<u8>(), vec(any::<u8>(), 0..200)), 0..5);
    vec(
        (any::<usize>(), name, any::<u8>(), any::<u64>(), values),
        0..300,
    )
}

fn grown(steps: Vec<Step>) -> Tree {
    let mut grove = Grove::new();
    let mut directories = vec![InodeId::ROOT];
    let mut files = Vec::new();
    for (place, name, kind, number, xattrs) in steps {
        let parent = directories[place % directories.len()];
        let name = name.chars().scan(0, |len, c| {
            *len += c.len_utf8();
            (*len <= 255).then_some(c)
        });
        let name: String = name.collect();
        if grove
            .tree
            .names(parent)
            .unwrap()
            .contains_key(name.as_bytes())
            || name == "lost+found"
        {
            continue;
        }
        let numbers = Device {
            major: number as u32 & 0xfff,
            minor: (number >> 12) as u32 & 0xf_ffff,
        };
        let mut inode = match kind % 9 {
            0 | 1 => dir(),
            2 => of(Content::Character(numbers)),
            3 => of(Content::Block(numbers)),
            4 => of(Content::Fifo),
            5 => of(Content::Symlink(
                name.repeat(1 + number as usize % 15).into_bytes().into(),
            )),
            6 => of(Content::Socket),
            7 if !files.is_empty() => {
                grove.link(parent, &name, files[number as usize % files.len()]);
                continue;
            }
            _ => {
                let (mut at, mut pieces) = (number % 5000, Vec::new());
                for gap in [1, 4096, 17, 9000] {
                    let len = 1 + number % (gap * 3);
                    pieces.push((at, len, number % 1000));
                    at += len + 1 + number % (gap * 2);
                }
                file(at + number % 5000, &pieces)
            }
        };
        inode.meta = meta((number % 0o10000) as u16);
        inode.meta.uid = (number >> 7) as u32;
        inode.meta.mtime.seconds = (number % (1 << 34)) as i64 - (1 << 31);
        for (index, (number, value)) in xattrs.into_iter().enumerate() {
            let space = ["user.", "trusted.", "security."][usize::from(number) % 3];
            inode
                .meta
                .xattrs
                .push(xattr(&format!("{space}{number}.{index}"), &value));
        }
        inode.meta.xattrs.sort();
        let is_directory = matches!(inode.content, Content::Directory(_));
        let id = grove.add(parent, &name, inode);
        if is_directory {
            directories.push(id);
        } else {
            files.push(id);
        }
    }
    grove.tree
}

#[test]
fn random_trees_are_clean_and_read_as_they_were_written() {
    if !have_programs() {
        return;
    }
    let source: Vec<u8> = (0..40_000_u32).map(|at| (at % 250) as u8 + 1).collect();
    // Each makes a file system and has it checked.
    let mut runner = TestRunner::new(Config {
        cases: 24,
        ..Config::default()
    });
    runner
        .run(&steps(), |steps| {
            round_trip(&grown(steps), &source);
            Ok(())
        })
        .unwrap();
}

#[test]
fn large_directories_are_read_through_their_index() {
    if !have_programs() {
        return;
    }
    let mut grove = Grove::new();
    let directory = grove.add(InodeId::ROOT, "many", dir());
    for number in 0..20_000 {
        grove.add(directory, &format!("{number:0100}"), file(0, &[]));
    }
    round_trip(&grove.tree, b"");
}

#[test]
fn what_other_programs_wrote_is_read() {
    if !have_programs() {
        return;
    }
    let tree = tempfile::tempdir().unwrap();
    let path = tree.path();
    fs_err::create_dir_all(path.join("d/e")).unwrap();
    fs_err::write(path.join("d/small"), "in the inode").unwrap();
    fs_err::write(
        path.join("d/middle"),
        "partly among the attributes ".repeat(4),
    )
    .unwrap();
    fs_err::write(path.join("large"), "in blocks ".repeat(5000)).unwrap();
    for features in ["none", "inline_data", "metadata_csum_seed"] {
        let from = path.to_str().unwrap();
        let more: &[&str] = match features {
            "none" => &["-d", from],
            _ => &["-O", features, "-d", from],
        };
        let disk = Disk::made(64 << 20, 1000, 4, more);
        let file = disk.file();
        let found = read(&file, &ReadLimits::DEFAULT).unwrap();
        for (name, text) in [
            ("d/small", "in the inode".to_owned()),
            ("d/middle", "partly among the attributes ".repeat(4)),
            ("large", "in blocks ".repeat(5000)),
        ] {
            let id = found.find(name.as_bytes()).unwrap();
            let Content::File(data) = &found.get(id).unwrap().content else {
                panic!("{name}");
            };
            let mut bytes = vec![0; data.size as usize];
            for piece in &data.pieces {
                let to = &mut bytes[piece.at as usize..(piece.at + piece.len) as usize];
                file.read_at(to, piece.from).unwrap();
            }
            assert_eq!(String::from_utf8(bytes).unwrap(), text, "{features} {name}");
        }
        assert_eq!(
            found.names(found.find(b"d/e").unwrap()),
            Some(&Names::new())
        );
    }
}

#[test]
fn a_file_system_that_was_not_unmounted_is_refused() {
    if !have_programs() {
        return;
    }
    let disk = Disk::made(64 << 20, 1000, 4, &[]);
    let path = disk.path.to_str().unwrap();
    run("debugfs", &["-w", "-R", "feature needs_recovery", path]).unwrap();
    let error = read(&disk.file(), &ReadLimits::DEFAULT).unwrap_err();
    let ReadError::Superblock(error) = error else {
        panic!("{error}");
    };
    assert!(
        error.to_string().contains("journal has to be replayed"),
        "{error}"
    );
}

#[test]
fn damaged_file_systems_end_with_an_error_and_never_with_a_panic() {
    if !have_programs() {
        return;
    }
    let mut grove = Grove::new();
    let etc = grove.add(InodeId::ROOT, "etc", dir());
    let pieces: Vec<_> = (0..20).map(|number| (number * 8192, 10, 0)).collect();
    let mut holes = file(20 * 8192, &pieces);
    holes.meta.xattrs = vec![xattr("user.a", b"b"), xattr("user.large", &[7; 300])];
    grove.add(etc, "holes", holes);
    for number in 0..300 {
        grove.add(etc, &format!("{number:040}"), file(0, &[]));
    }
    grove.add(
        etc,
        "slow",
        of(Content::Symlink("x".repeat(100).into_bytes().into())),
    );
    let disk = Disk::made(4 << 20, 512, 1, &[]);
    disk.fill(&grove.tree, &[1; 100]);
    disk.check();
    let whole = fs_err::read(&disk.path).unwrap();
    fuzz::reader(&whole);
    // Where something is at all, and there everything that numbers are most wrong with.
    let places: Vec<_> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let strategy = vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8);
    let mut runner = TestRunner::new(Config {
        cases: 400,
        ..Config::default()
    });
    let damaged = std::cell::RefCell::new(whole.clone());
    runner
        .run(&strategy, |edits| {
            let mut damaged = damaged.borrow_mut();
            let edits: Vec<_> = edits
                .iter()
                .map(|(index, value)| (places[index.index(places.len())], *value))
                .collect();
            for (at, value) in &edits {
                damaged[*at] = *value;
            }
            fuzz::reader(&damaged);
            for (at, _) in &edits {
                damaged[*at] = whole[*at];
            }
            Ok(())
        })
        .unwrap();
}
