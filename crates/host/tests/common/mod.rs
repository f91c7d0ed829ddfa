//! A file system that can share blocks, for tests that need one.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a test's fixture runs programs, and says why it can't"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A loop-backed XFS that is gone when this is dropped.
pub(crate) struct Reflink {
    dir: TempDir,
}

impl Reflink {
    /// Makes one; says why and gives `None` where that can't be done.
    pub(crate) fn make() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting a file system with reflinks needs root");
            return None;
        }
        let dir = tempfile::tempdir().expect("a directory can be made");
        let made = Self { dir };
        let image = made.dir.path().join("image");
        fs_err::File::create(&image)
            .and_then(|file| file.set_len(1 << 30))
            .expect("a sparse file can be made");
        fs_err::create_dir(made.path()).expect("a directory can be made");
        let make = run(Command::new("mkfs.xfs")
            .args(["-q", "-m", "reflink=1"])
            .arg(&image));
        let mount = make.and_then(|()| {
            run(Command::new("mount")
                .args(["-o", "loop"])
                .args([&image, &made.path()]))
        });
        match mount {
            Ok(()) => Some(made),
            Err(why) => {
                eprintln!("skipped: no file system with reflinks could be made: {why}");
                None
            }
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }
}

impl Drop for Reflink {
    fn drop(&mut self) {
        // Its loop device goes with it.
        if is_mounted(&self.path())
            && let Err(why) = run(Command::new("umount").arg("-l").arg(self.path()))
        {
            eprintln!("{} stays mounted: {why}", self.path().display());
        }
    }
}

fn is_mounted(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let dev = |path: &Path| fs_err::metadata(path).map(|metadata| metadata.dev()).ok();
    dev(path) != path.parent().and_then(dev)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
