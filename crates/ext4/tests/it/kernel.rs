//! A tree that was written, as this host's kernel sees it. It is our own, not a stranger's.

use std::path::{Path, PathBuf};

use bhatti_ext4::tree::InodeId;

use crate::fill::{Grove, dir, file};
use crate::programs::{Disk, have_programs, run};

/// A mounted file system, which is unmounted in the end.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        run("umount", &[self.0.to_str().unwrap()]).unwrap();
    }
}

fn is_root() -> bool {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    status.contains("Uid:\t0\t")
}

#[test]
fn the_kernel_finds_every_name_and_goes_on_writing() {
    if !have_programs() {
        return;
    }
    let control = Path::new("/dev/loop-control");
    if !is_root() || !control.exists() {
        println!("skipped: needs root and loop devices");
        return;
    }
    let mut grove = Grove::new();
    let directory = grove.add(InodeId::ROOT, "many", dir());
    for number in 0..30_000 {
        grove.add(directory, &format!("name {number}é"), file(0, &[]));
    }
    grove.add(InodeId::ROOT, "text", file(100_000, &[(0, 100_000, 0)]));
    let source: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let disk = Disk::new(&grove.tree);
    disk.fill(&grove.tree, &source);
    let place = tempfile::tempdir().unwrap();
    let path = place.path();
    let args = [
        "-o",
        "loop",
        disk.path.to_str().unwrap(),
        path.to_str().unwrap(),
    ];
    if let Err(error) = run("mount", &args) {
        println!("skipped: cannot mount: {error}");
        return;
    }
    let mounted = Mounted(path.to_owned());
    assert_eq!(fs_err::read(path.join("text")).unwrap(), source);
    let many = path.join("many");
    assert_eq!(fs_err::read_dir(&many).unwrap().count(), 30_000);
    for number in 0..30_000 {
        fs_err::metadata(many.join(format!("name {number}é"))).unwrap();
    }
    for number in 0..3_000 {
        fs_err::write(many.join(format!("more {number}")), "new").unwrap();
        fs_err::remove_file(many.join(format!("name {}é", number * 7))).unwrap();
    }
    drop(mounted);
    disk.check();
}
