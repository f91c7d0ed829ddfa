//! The same layers, unpacked by another program: file by file the same.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bhatti_ext4::disk::ReadAt as _;
use bhatti_ext4::read::{ReadLimits, read};
use bhatti_ext4::tree::{Content, InodeId, Tree};
use bhatti_host::command::Command;
use rustix::fs::{CWD, Dev, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use crate::convert::convert::convert;
use crate::convert::test::{layer, options};
use crate::layer::tar::build::{Item, archive, dir, file, link, symlink};

/// What is said of each file, by its path.
type Listing = BTreeMap<Vec<u8>, String>;

async fn run(program: &str, args: &[&str]) {
    let run = Command::new(program).args(args).run().await;
    run.unwrap_or_else(|error| panic!("{program} {args:?}: {error}"));
}

fn sum(bytes: &[u8]) -> String {
    format!("{} bytes {}", bytes.len(), blake3::hash(bytes))
}

/// One of everything that an archive can hold.
fn plant(tree: &Path) {
    let deep = tree.join("a directory/with/others/in it");
    fs_err::create_dir_all(&deep).unwrap();
    fs_err::create_dir_all(tree.join("etc/opaque")).unwrap();
    fs_err::write(deep.join("n".repeat(250)), "a long name").unwrap();
    let mut long = deep.clone();
    for _ in 0..5 {
        long.push("d".repeat(100));
    }
    fs_err::create_dir_all(&long).unwrap();
    fs_err::write(long.join("far"), "a long path").unwrap();
    fs_err::write(tree.join("etc/opaque/gone"), "gone").unwrap();
    fs_err::write(tree.join("etc/removed"), "removed").unwrap();
    fs_err::write(tree.join("etc/replaced"), "by a directory").unwrap();
    fs_err::create_dir_all(tree.join("etc/dir-replaced/x")).unwrap();
    fs_err::write(tree.join("large"), "0123456789abcdef".repeat(100_000)).unwrap();
    fs_err::hard_link(tree.join("large"), tree.join("etc/large too")).unwrap();
    std::os::unix::fs::symlink("../nowhere", tree.join("etc/link")).unwrap();
    std::os::unix::fs::symlink("etc", tree.join("config")).unwrap();
    let sparse = fs_err::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(50 << 20).unwrap();
    for at in [0, 10 << 20, 40 << 20] {
        std::os::unix::fs::FileExt::write_all_at(sparse.file(), &[b's'; 10_000], at).unwrap();
    }
    let node = |name: &str, kind, dev: Dev| {
        mknodat(CWD, tree.join(name), kind, Mode::from_raw_mode(0o620), dev).unwrap();
    };
    node("null", FileType::CharacterDevice, makedev(1, 3));
    node("disk", FileType::BlockDevice, makedev(259, 300));
    node("pipe", FileType::Fifo, 0);
    let program = tree.join("program");
    fs_err::write(&program, "#!").unwrap();
    std::os::unix::fs::chown(&program, Some(1000), Some(100_000)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4755);
    fs_err::set_permissions(&program, mode).unwrap();
    // cap_net_raw+ep.
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    setxattr(
        &program,
        "security.capability",
        capability,
        XattrFlags::empty(),
    )
    .unwrap();
    let value = [b'v'; 200];
    setxattr(&program, "user.comment", &value, XattrFlags::empty()).unwrap();
    setxattr(tree.join("etc"), "user.dir", b"1", XattrFlags::empty()).unwrap();
}

fn upper() -> Vec<u8> {
    archive(&[
        dir("etc"),
        dir("etc/opaque"),
        file("etc/opaque/.wh..wh..opq", ""),
        file("etc/opaque/new", "new"),
        file("etc/.wh.removed", ""),
        dir("etc/replaced"),
        file("etc/replaced/below", "below"),
        file("etc/dir-replaced", "a file"),
        file("config/through the link", "inside"),
        link("linked from above", "large"),
        symlink("absolute", "/etc/passwd"),
        file("twice", "one"),
        file("twice", "two"),
        Item::new(b'0', "./../../escaped")
            .content(b"contained")
            .bytes(),
    ])
}

/// What the host's kernel sees in a directory.
fn of_directory(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut links: HashMap<u64, Vec<u8>> = HashMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let found = fs_err::symlink_metadata(&path).unwrap();
        let mut names: Vec<_> = Vec::new();
        let what = match FileType::from_raw_mode(found.mode()) {
            FileType::Directory => {
                let entries = fs_err::read_dir(&path).unwrap();
                names = entries.map(|entry| entry.unwrap().path()).collect();
                "directory".to_owned()
            }
            FileType::RegularFile => sum(&fs_err::read(&path).unwrap()),
            FileType::Symlink => format!("-> {:?}", fs_err::read_link(&path).unwrap().as_os_str()),
            FileType::CharacterDevice => format!("c {:x}", found.rdev()),
            FileType::BlockDevice => format!("b {:x}", found.rdev()),
            other => format!("{other:?}"),
        };
        let mut xattrs = BTreeMap::new();
        let mut list = vec![0; 4096];
        let len = rustix::fs::llistxattr(&path, &mut list[..]).unwrap();
        for name in list[..len]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
        {
            let mut value = vec![0; 4096];
            let len = rustix::fs::lgetxattr(&path, name, &mut value[..]).unwrap();
            xattrs.insert(name.to_vec(), value[..len].to_vec());
        }
        let relative = path
            .strip_prefix(root)
            .unwrap()
            .as_os_str()
            .as_bytes()
            .to_vec();
        let meta = (found.mode() & 0o7777, found.uid(), found.gid());
        let times = (found.mtime(), found.mtime_nsec());
        let first = links.entry(found.ino()).or_insert_with(|| relative.clone());
        let is_directory = what == "directory";
        let line = line(&what, meta, times, is_directory, &xattrs, first);
        listing.insert(relative, line);
        names.sort();
        waiting.extend(names.into_iter().rev());
    }
    listing
}

/// What our reader sees on a disk.
fn of_disk(tree: &Tree, disk: &std::fs::File) -> Listing {
    let mut listing = Listing::new();
    let mut links: HashMap<InodeId, Vec<u8>> = HashMap::new();
    let mut waiting = vec![(Vec::new(), InodeId::ROOT)];
    while let Some((path, id)) = waiting.pop() {
        let inode = tree.get(id).unwrap();
        let device = |device: &bhatti_ext4::tree::Device| makedev(device.major, device.minor);
        let what = match &inode.content {
            Content::Directory(names) => {
                for (name, id) in names.iter().rev() {
                    let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                    waiting.push(([&path, slash, name].concat(), *id));
                }
                "directory".to_owned()
            }
            Content::File(data) => {
                let mut bytes = vec![0; data.size as usize];
                for piece in &data.pieces {
                    let to = &mut bytes[piece.at as usize..(piece.at + piece.len) as usize];
                    disk.read_at(to, piece.from).unwrap();
                }
                sum(&bytes)
            }
            Content::Symlink(target) => {
                format!("-> {:?}", std::ffi::OsStr::from_bytes(target))
            }
            Content::Character(numbers) => format!("c {:x}", device(numbers)),
            Content::Block(numbers) => format!("b {:x}", device(numbers)),
            Content::Fifo => format!("{:?}", FileType::Fifo),
            Content::Socket => format!("{:?}", FileType::Socket),
        };
        let xattrs = inode.meta.xattrs.iter();
        let xattrs = xattrs
            .map(|xattr| (xattr.name.to_vec(), xattr.value.to_vec()))
            .collect();
        let meta = (u32::from(inode.meta.mode), inode.meta.uid, inode.meta.gid);
        let times = (inode.meta.mtime.seconds, i64::from(inode.meta.mtime.nanos));
        let first = links.entry(id).or_insert_with(|| path.clone());
        let is_directory = what == "directory";
        listing.insert(
            path.clone(),
            line(&what, meta, times, is_directory, &xattrs, first),
        );
    }
    listing
}

fn line(
    what: &str,
    (mode, uid, gid): (u32, u32, u32),
    times: (i64, i64),
    is_directory: bool,
    xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    first: &[u8],
) -> String {
    let mut line = format!("{what} {mode:o} {uid}:{gid}");
    // The time of a directory is that of its last change while it is unpacked.
    if !is_directory {
        write!(line, " {times:?} = {}", String::from_utf8_lossy(first)).unwrap();
    }
    for (name, value) in xattrs {
        write!(line, " {}={value:?}", String::from_utf8_lossy(name)).unwrap();
    }
    line
}

#[tokio::test]
async fn the_tree_is_the_one_that_umoci_unpacks() {
    if !rustix::process::geteuid().is_root()
        || !Path::new("/usr/bin/umoci").exists()
        || !Path::new("/usr/sbin/mke2fs").exists()
    {
        println!("skipped: needs root, for devices, and the packages `umoci` and `e2fsprogs`");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (tree, image) = (path("tree"), format!("{}:latest", path("layout")));
    fs_err::create_dir(&tree).unwrap();
    plant(Path::new(&tree));
    for format in ["pax", "gnu"] {
        // GNU's format has no extended attributes, and umoci does not know its sparse files.
        let lower = path("lower.tar");
        let form = format!("--format={format}");
        let mut args = vec!["-c", "-f", &lower, "-C", &tree, &*form];
        if format == "pax" {
            args.extend(["--sparse", "--xattrs", "--xattrs-include=*"]);
        }
        args.push(".");
        run("tar", &args).await;
        fs_err::write(home.path().join("upper.tar"), upper()).unwrap();
        let layout = path("layout");
        run("umoci", &["init", "--layout", &layout]).await;
        run("umoci", &["new", "--image", &image]).await;
        let mut layers = Vec::new();
        for name in ["lower", "upper"] {
            let tar = path(&format!("{name}.tar"));
            run("umoci", &["raw", "add-layer", "--image", &image, &tar]).await;
            let blob = fs_err::read(&tar).unwrap();
            layers.push(layer(home.path(), name, &blob).await.unwrap());
        }
        let bundle = path("bundle");
        run("umoci", &["unpack", "--image", &image, &bundle]).await;
        let out = home.path().join("disk.raw");
        convert(&layers, &out, &options(), |_| {}).await.unwrap();
        let disk = fs_err::File::open(&out).unwrap();
        let found = read(disk.file(), &ReadLimits::DEFAULT).unwrap();
        let ours = of_disk(&found, disk.file());
        let theirs = of_directory(&home.path().join("bundle/rootfs"));
        for (path, theirs) in &theirs {
            let shown = String::from_utf8_lossy(path);
            let ours = ours.get(path).map(String::as_str);
            assert_eq!(ours, Some(&**theirs), "{format}: {shown}");
        }
        let names: Vec<_> = ours
            .keys()
            .filter(|path| !theirs.contains_key(*path))
            .collect();
        assert!(names.is_empty(), "{format}: {names:?}");
        for rest in ["layout", "bundle"] {
            fs_err::remove_dir_all(home.path().join(rest)).unwrap();
        }
        fs_err::remove_file(&out).unwrap();
    }
}
