//! The programs of e2fsprogs, and file systems made with them.

use std::fs::File;
use std::path::{Path, PathBuf};

use bhatti_ext4::disk::WriteAt as _;
use bhatti_ext4::estimate::estimate;
use bhatti_ext4::fill::{Copy, fill};
use bhatti_ext4::tree::Tree;
use bhatti_host::command::{Command, CommandError};

/// A disk with a file system, in a directory that goes away.
pub(crate) struct Disk {
    _dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<String, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let output = runtime.block_on(Command::new(program).args(args).run())?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Disk {
    /// An empty file system of the size that is estimated for a tree.
    pub(crate) fn new(tree: &Tree) -> Self {
        let estimate = estimate(tree);
        Self::made(estimate.bytes, estimate.inodes, estimate.journal_mib, &[])
    }

    /// An empty file system.
    pub(crate) fn made(bytes: u64, inodes: u64, journal_mib: u64, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        let file = fs_err::File::create(&path).unwrap();
        file.set_len(bytes).unwrap();
        let (inodes, journal) = (inodes.to_string(), format!("size={journal_mib}"));
        let mut args = vec![
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-I",
            "256",
            "-m",
            "1",
            "-N",
            &inodes,
            "-J",
            &journal,
            "-E",
            "lazy_itable_init=0,lazy_journal_init=1",
        ];
        args.extend_from_slice(more);
        args.push(path.to_str().unwrap());
        run("mke2fs", &args).unwrap();
        Self { _dir: dir, path }
    }

    pub(crate) fn file(&self) -> File {
        let mut options = fs_err::OpenOptions::new();
        let file = options.read(true).write(true).open(&self.path).unwrap();
        file.into_parts().0
    }

    /// Writes a tree whose pieces are parts of `source`.
    pub(crate) fn fill(&self, tree: &Tree, source: &[u8]) -> Vec<Copy> {
        let file = self.file();
        let copies = fill(&file, tree).unwrap();
        for copy in &copies {
            let bytes = &source[copy.from as usize..(copy.from + copy.len) as usize];
            file.write_at(bytes, copy.to).unwrap();
        }
        copies
    }

    /// Has `e2fsck` look through all of it; it may find nothing to complain about.
    pub(crate) fn check(&self) {
        run("e2fsck", &["-fn", self.path.to_str().unwrap()]).unwrap_or_else(|error| {
            panic!("{error}");
        });
    }

    /// Has `debugfs` answer a question.
    pub(crate) fn debugfs(&self, question: &str) -> String {
        run("debugfs", &["-R", question, self.path.to_str().unwrap()]).unwrap()
    }
}

/// Whether the programs are there; says why not.
pub(crate) fn have_programs() -> bool {
    let have = ["mke2fs", "e2fsck", "debugfs"]
        .iter()
        .all(|name| Path::new("/usr/sbin").join(name).exists());
    if !have {
        println!("skipped: needs the package `e2fsprogs`");
    }
    have
}
