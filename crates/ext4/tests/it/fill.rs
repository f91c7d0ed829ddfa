//! Trees that were written, as `e2fsck` and `debugfs` see them.

use bhatti_ext4::tree::{
    Content, Data, Device, Inode, InodeId, Metadata, Names, Piece, Time, Tree, Xattr,
};

use crate::programs::{Disk, have_programs};

/// Makes trees in tests: each file is added to a directory.
pub(crate) struct Grove {
    pub(crate) tree: Tree,
}

impl Grove {
    pub(crate) fn new() -> Self {
        Self {
            tree: Tree::new(meta(0o755)),
        }
    }

    pub(crate) fn add(&mut self, parent: InodeId, name: &str, inode: Inode) -> InodeId {
        let id = InodeId(self.tree.inodes.len() as u32);
        self.tree.inodes.push(inode);
        self.link(parent, name, id);
        id
    }

    pub(crate) fn link(&mut self, parent: InodeId, name: &str, id: InodeId) {
        let Content::Directory(names) = &mut self.tree.inodes[parent.index()].content else {
            panic!("{parent:?} is no directory");
        };
        names.insert(name.as_bytes().into(), id);
    }
}

pub(crate) fn meta(mode: u16) -> Metadata {
    Metadata {
        mode,
        uid: 1000,
        gid: 70000,
        mtime: Time {
            seconds: 1_700_000_000,
            nanos: 123_456_789,
        },
        xattrs: Vec::new(),
    }
}

pub(crate) fn of(content: Content) -> Inode {
    Inode {
        meta: meta(0o644),
        content,
    }
}

pub(crate) fn dir() -> Inode {
    Inode {
        meta: meta(0o755),
        content: Content::Directory(Names::new()),
    }
}

pub(crate) fn file(size: u64, pieces: &[(u64, u64, u64)]) -> Inode {
    let pieces = pieces.iter().map(|(at, len, from)| Piece {
        at: *at,
        len: *len,
        source: 0,
        from: *from,
    });
    of(Content::File(Data {
        size,
        pieces: pieces.collect(),
    }))
}

pub(crate) fn xattr(name: &str, value: &[u8]) -> Xattr {
    Xattr {
        name: name.as_bytes().into(),
        value: value.into(),
    }
}

#[test]
fn every_kind_of_file_is_written() {
    if !have_programs() {
        return;
    }
    let mut grove = Grove::new();
    let root = InodeId::ROOT;
    let etc = grove.add(root, "etc", dir());
    let hello = grove.add(etc, "hello", file(5, &[(0, 5, 0)]));
    grove.link(root, "also hello", hello);
    grove.add(etc, "empty", file(0, &[]));
    grove.add(
        etc,
        "sparse",
        file(1 << 30, &[(4000, 200, 0), (1 << 29, 5000, 0)]),
    );
    grove.add(
        etc,
        "fast",
        of(Content::Symlink(b"../etc/hello".as_slice().into())),
    );
    grove.add(
        etc,
        "slow",
        of(Content::Symlink("x/".repeat(40).as_bytes().into())),
    );
    let numbers = |major, minor| Device { major, minor };
    grove.add(root, "null", of(Content::Character(numbers(1, 3))));
    grove.add(root, "disk", of(Content::Block(numbers(259, 70000))));
    grove.add(root, "pipe", of(Content::Fifo));
    grove.add(root, "socket", of(Content::Socket));
    let mut many = file(10_000, &[(0, 10_000, 0)]);
    many.meta.xattrs = vec![
        xattr("security.capability", &[1; 20]),
        xattr("system.posix_acl_access", b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x06\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff"),
        xattr("trusted.large", &[b'v'; 3000]),
        xattr("user.empty", b""),
        xattr("user.one", b"1"),
    ];
    grove.add(root, "many", many);
    let source: Vec<u8> = b"hello".iter().copied().cycle().take(10_000).collect();
    let disk = Disk::new(&grove.tree);
    disk.fill(&grove.tree, &source);
    disk.check();
    assert_eq!(disk.debugfs("cat /etc/hello"), "hello");
    assert_eq!(disk.debugfs("cat /many").as_bytes(), source);
    let hello = disk.debugfs("stat /etc/hello");
    for part in [
        "Links: 2",
        "User:  1000   Group: 70000",
        "Mode:  0644",
        "0x6553f100:1d6f3454",
    ] {
        assert!(hello.contains(part), "{hello}");
    }
    assert!(disk.debugfs("stat /disk").contains("259:70000"));
    assert!(disk.debugfs("stat /null").contains("01:03"));
    assert!(
        disk.debugfs("stat /etc/fast")
            .contains("Fast link dest: \"../etc/hello\"")
    );
    let xattrs = disk.debugfs("ea_list /many");
    for part in [
        "user.one (1) = \"1\"",
        "trusted.large (3000)",
        "security.capability (20)",
    ] {
        assert!(xattrs.contains(part), "{xattrs}");
    }
}

#[test]
fn directories_of_all_sizes_are_found_by_name() {
    if !have_programs() {
        return;
    }
    let mut grove = Grove::new();
    for count in [0, 1, 100, 150, 200, 5_000, 60_000] {
        let directory = grove.add(InodeId::ROOT, &count.to_string(), dir());
        let inode = grove.add(directory, "the file", file(0, &[]));
        for number in 1..count {
            grove.link(
                directory,
                &format!("a longer name of number {number}"),
                inode,
            );
            if number >= 5_000 {
                // Names of one file are limited.
                grove.add(directory, &format!("{number:0200}"), file(0, &[]));
            }
        }
    }
    let disk = Disk::new(&grove.tree);
    disk.fill(&grove.tree, b"");
    disk.check();
    let found = disk.debugfs("stat \"/5000/a longer name of number 4999\"");
    assert!(found.contains("Type: regular"), "{found}");
    let tree = disk.debugfs("htree /60000");
    assert!(tree.contains("Indirect levels: 1"), "{}", &tree[..1000]);
}

#[test]
fn large_files_get_trees_of_extents() {
    if !have_programs() {
        return;
    }
    let mut grove = Grove::new();
    // More holes than a block of extents has room for.
    let pieces: Vec<_> = (0..2000).map(|number| (number * 8192, 10, 0)).collect();
    grove.add(InodeId::ROOT, "holes", file(2000 * 8192, &pieces));
    grove.add(InodeId::ROOT, "lost+found", of(Content::Fifo));
    // Longer than an extent, and than a group.
    let large = 700 << 20;
    grove.add(InodeId::ROOT, "large", file(large, &[(0, large, 0)]));
    let disk = Disk::new(&grove.tree);
    let copies = bhatti_ext4::fill::fill(&disk.file(), &grove.tree).unwrap();
    let all: u64 = copies.iter().map(|copy| copy.len).sum();
    assert_eq!(all, 2000 * 10 + large);
    disk.check();
    assert!(disk.debugfs("stat /lost+found").contains("Type: FIFO"));
}
