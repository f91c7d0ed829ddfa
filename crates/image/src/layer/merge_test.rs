//! Layers over each other, each case with the tree that is expected.

use std::fmt::Write as _;

use bhatti_ext4::tree::{Content, InodeId, Tree};

use crate::layer::limits::Limits;
use crate::layer::merge::{MergeError, merge};
use crate::layer::scan::scan;
use crate::layer::tar::build::{Item, archive, dir, file, link, symlink};

const LIMITS: Limits = Limits {
    depth: 12,
    entries: 100,
    ..Limits::DEFAULT
};

fn merged(layers: &[&[Vec<u8>]]) -> Result<Tree, MergeError> {
    let scanned = layers
        .iter()
        .map(|items| scan(&archive(items)[..], &LIMITS).unwrap());
    merge(scanned, &LIMITS)
}

/// All names with what they are; of files the layer they come from, counted from 1, and their
/// size.
fn listed(tree: &Tree) -> String {
    let mut text = String::new();
    let mut waiting = vec![(String::new(), InodeId::ROOT)];
    while let Some((path, id)) = waiting.pop() {
        let inode = tree.get(id).unwrap();
        let line = match &inode.content {
            Content::Directory(names) => {
                for (name, id) in names.iter().rev() {
                    let name = String::from_utf8_lossy(name);
                    waiting.push((format!("{path}/{name}"), *id));
                }
                format!("/ {:o}", inode.meta.mode)
            }
            Content::File(data) => match data.pieces.first() {
                Some(piece) => format!(" {}:{} #{}", piece.source + 1, data.size, id.0),
                None => format!(" empty #{}", id.0),
            },
            Content::Symlink(target) => format!(" -> {}", String::from_utf8_lossy(target)),
            other => format!(" {other:?}"),
        };
        writeln!(text, "{path}{line}").unwrap();
    }
    text
}

fn list(layers: &[&[Vec<u8>]]) -> String {
    listed(&merged(layers).unwrap())
}

#[test]
fn whiteouts_take_away_what_is_below_and_nothing_else() {
    let lower = [file("a", "1"), dir("d"), file("d/x", "1"), file("d/y", "1")];
    assert_eq!(
        list(&[&lower, &[file(".wh.a", ""), file("d/.wh.x", "")]]),
        "/ 755\n/d/ 755\n/d/y 1:1 #2\n"
    );
    // Before or behind what the layer has itself, whatever the order.
    for upper in [
        [
            file("a", "22"),
            file(".wh.a", ""),
            file("d/.wh..wh..opq", ""),
            file("d/z", "22"),
        ],
        [
            file("d/z", "22"),
            file("d/.wh..wh..opq", ""),
            file(".wh.a", ""),
            file("a", "22"),
        ],
    ] {
        assert_eq!(
            list(&[&lower, &upper]),
            "/ 755\n/a 2:2 #1\n/d/ 755\n/d/z 2:2 #3\n"
        );
    }
    // A directory with something of this layer in it stays, the rest of it goes.
    let upper = [file("d/new/z", "22"), file(".wh.d", "")];
    assert_eq!(
        list(&[&lower, &upper]),
        "/ 755\n/a 1:1 #1\n/d/ 755\n/d/new/ 755\n/d/new/z 2:2 #4\n"
    );
    // What was taken away can come back, and be taken away again.
    let layers: &[&[Vec<u8>]] = &[
        &lower,
        &[file(".wh.d", "")],
        &[file("d/x", "333")],
        &[file(".wh.a", "")],
    ];
    assert_eq!(list(layers), "/ 755\n/d/ 755\n/d/x 3:3 #2\n");
    // All of it.
    assert_eq!(list(&[&lower, &[file(".wh..wh..opq", "")]]), "/ 755\n");
    // Nothing to be taken away, and files of an old storage driver.
    let upper = [
        file(".wh.none", ""),
        file("no/.wh.a", ""),
        file(".wh..wh.plnk/a", ""),
    ];
    assert_eq!(list(&[&[file("a", "1")], &upper]), "/ 755\n/a 1:1 #1\n");
}

#[test]
fn kinds_of_files_replace_each_other() {
    let lower = [
        dir("a"),
        file("a/below", "1"),
        file("b", "1"),
        symlink("c", "a"),
    ];
    let upper = [file("a", "22"), dir("b"), dir("c")];
    assert_eq!(
        list(&[&lower, &upper]),
        "/ 755\n/a 2:2 #1\n/b/ 755\n/c/ 755\n"
    );
    // A directory over a directory keeps what is in it, and gets other attributes.
    let again = Item::new(b'5', "a").field(100, b"0001777").bytes();
    assert_eq!(
        list(&[&lower, &[again]]),
        "/ 755\n/a/ 1777\n/a/below 1:1 #4\n/b 1:1 #2\n/c -> a\n"
    );
    // The last of several entries counts.
    assert_eq!(
        list(&[&[file("a", "1"), dir("a"), file("a", "333")]]),
        "/ 755\n/a 1:3 #1\n"
    );
    // A parent that is no directory, or that is not there.
    assert_eq!(
        list(&[&[file("a", "1")], &[file("a/b/c", "22")]]),
        "/ 755\n/a/ 755\n/a/b/ 755\n/a/b/c 2:2 #3\n"
    );
    let root = Item::new(b'5', "./").field(100, b"0000700").bytes();
    assert_eq!(list(&[&[root]]), "/ 700\n");
}

#[test]
fn names_below_links_stay_in_the_tree() {
    let lower = [
        dir("usr/bin"),
        symlink("bin", "usr/bin"),
        symlink("abs", "/usr"),
    ];
    let text = list(&[&lower, &[file("bin/sh", "22"), file("abs/x", "22")]]);
    assert!(
        text.contains("/bin -> usr/bin\n") && text.contains("/usr/bin/sh 2:2"),
        "{text}"
    );
    assert!(text.contains("/usr/x 2:2"), "{text}");
    // Out of the tree there is nothing to lead to.
    let links = [
        symlink("up", "../../../etc"),
        symlink("host", "/etc"),
        file("up/passwd", "1"),
        file("host/shadow", "1"),
        file("../../x", "1"),
    ];
    assert_eq!(
        list(&[&links]),
        "/ 755\n/etc/ 755\n/etc/passwd 1:1 #5\n/etc/shadow 1:1 #6\n/host -> /etc\n\
         /up -> ../../../etc\n/x 1:1 #4\n"
    );
    // Whiteouts follow them as well, and a link itself is taken away, not what it leads to.
    let upper = [file("bin/.wh.sh", ""), file(".wh.bin", "")];
    let text = list(&[&lower, &[file("bin/sh", "22")], &upper]);
    assert!(
        !text.contains("sh") && text.contains("/usr/bin/ 755") && !text.contains("->  usr/bin")
    );
}

#[test]
fn hard_links_share_a_file_also_with_lower_layers() {
    let lower = [
        file("a", "1"),
        link("b", "a"),
        symlink("s", "nowhere"),
        link("t", "s"),
    ];
    assert_eq!(
        list(&[&lower, &[dir("d"), link("d/c", "/b"), file("a", "22")]]),
        "/ 755\n/a 2:2 #1\n/b 1:1 #2\n/d/ 755\n/d/c 1:1 #2\n/s -> nowhere\n/t -> nowhere\n"
    );
    // A whiteout takes one name away.
    assert_eq!(
        list(&[&lower, &[file(".wh.a", ""), file(".wh.s", "")]]),
        "/ 755\n/b 1:1 #1\n/t -> nowhere\n"
    );
}

#[test]
fn hostile_layers_are_refused_each_for_its_reason() {
    let deep: Vec<_> = (0..3)
        .flat_map(|number| {
            // Each leads one name deeper than an entry could name it.
            let name = format!("l{number}");
            let target = format!("l{}/a/a/a/a/a", number - 1);
            [symlink(
                &name,
                if number == 0 { "a/a/a/a/a" } else { &target },
            )]
        })
        .chain([file("l2/x", "")])
        .collect();
    let many: Vec<_> = (0..12)
        .map(|number| file(&format!("{number}/a/a/a/a/a/a/a/a/x"), ""))
        .collect();
    let long = format!("x/{}", "y".repeat(80));
    let cases: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        (
            "a circle of links",
            vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "")],
            "circle",
        ),
        (
            "a link to itself",
            vec![symlink("a", "a"), file("a/x", "")],
            "circle",
        ),
        ("hard link to nothing", vec![link("a", "b")], "no file"),
        (
            "hard link to itself",
            vec![file("a", ""), link("a", "a")],
            "no file",
        ),
        (
            "hard links in a circle",
            vec![link("a", "b"), link("b", "a")],
            "no file",
        ),
        (
            "hard link to a directory",
            vec![dir("d"), link("a", "d")],
            "no file",
        ),
        (
            "hard link into what it replaces",
            vec![file("d/f", ""), link("d", "d/f")],
            "no file",
        ),
        (
            "hard link out of the tree",
            vec![link("a", "../../etc/passwd")],
            "no file",
        ),
        (
            "whiteout of nothing",
            vec![file(".wh.", "")],
            "without a name",
        ),
        (
            "whiteout of the directory",
            vec![file("d/x", ""), file("d/.wh..", "")],
            "without a name",
        ),
        (
            "whiteout of the parent",
            vec![file("d/x", ""), file("d/.wh...", "")],
            "without a name",
        ),
        (
            "below a whiteout",
            vec![file("a/.wh.b/c", "")],
            "without a name",
        ),
        ("deep by links", deep, "too deep"),
        ("too many made along", many, "100 files"),
        ("ok", vec![dir(&long)], ""),
    ];
    for (name, items, reason) in cases {
        match merged(&[&items]) {
            Ok(tree) => assert!(reason.is_empty(), "{name}: {}", listed(&tree)),
            Err(error) => {
                let text = error.to_string();
                assert!(
                    !reason.is_empty() && text.contains(reason),
                    "{name}: {text}"
                );
            }
        }
    }
}
