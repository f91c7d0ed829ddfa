//! Images that are made in a moment: a few files, and what their makers say of them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bhatti_host::command::Command;
use bhatti_image::catalog::Catalog;
use bhatti_image::image::{DISK, FORMAT, ImageConfig, ImageManifest, MANIFEST};
use bhatti_types::id::ImageId;
use bhatti_types::size::DiskMb;

/// A program that needs nothing else; Debian's package `busybox-static` has it.
pub const BUSYBOX: &str = "/bin/busybox";
/// Size of an image, in MiB.
const SIZE_MB: u64 = 64;
/// Time for making a small file system.
const MAKE_LIMIT: Duration = Duration::from_secs(30);

/// An image in the making.
#[derive(Debug)]
pub struct SmallImage {
    work: tempfile::TempDir,
    config: ImageConfig,
}

impl SmallImage {
    /// One without anything in it, not even a directory.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn new(config: ImageConfig) -> Self {
        let work = tempfile::tempdir().expect("a temporary directory can be made");
        for dir in ["root", "image"] {
            fs_err::create_dir(work.path().join(dir)).expect("a directory can be made");
        }
        Self { work, config }
    }

    /// Adds a copy of a program of this host that needs nothing else.
    ///
    /// # Panics
    /// If it is not there.
    pub fn program(self, from: &str, path: &str) -> Self {
        let to = self.place(path);
        fs_err::copy(from, &to).expect("the program is copied");
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(&to, mode).expect("it can be made executable");
        self
    }

    /// Adds a file.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn file(self, path: &str, text: &str) -> Self {
        fs_err::write(self.place(path), text).expect("a file is written");
        self
    }

    /// Puts it into a data directory under this name.
    ///
    /// # Panics
    /// If `mke2fs` is not there.
    pub async fn install(self, data_dir: &Path, name: &str) {
        let image = self.work.path().join("image");
        let size_mb = DiskMb::new(SIZE_MB).expect("a size of the range");
        let disk = fs_err::File::create(image.join(DISK)).expect("a file can be made");
        disk.set_len(size_mb.bytes()).expect("it can be that long");
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-E", "root_owner=0:0", "-d"])
            .arg(self.work.path().join("root"))
            .arg(image.join(DISK))
            .limit(MAKE_LIMIT)
            .run()
            .await
            .expect("a file system is made");
        let manifest = ImageManifest {
            format: FORMAT,
            id: ImageId::random(),
            name: name.parse().expect("a name"),
            source: format!("recipe:{name}").parse().expect("a source"),
            digest: name.to_owned(),
            layers: Vec::new(),
            size_mb,
            created_at: jiff::Timestamp::now(),
            config: self.config,
        };
        let text = serde_json::to_vec(&manifest).expect("a manifest is JSON");
        fs_err::write(image.join(MANIFEST), text).expect("the manifest is written");
        let catalog = Catalog::open(data_dir.join("images")).expect("the catalog opens");
        catalog.install(&image).expect("the image is installed");
    }

    fn place(&self, path: &str) -> PathBuf {
        let to = self
            .work
            .path()
            .join("root")
            .join(path.trim_start_matches('/'));
        let dir = to.parent().expect("it has a directory");
        fs_err::create_dir_all(dir).expect("its directory is made");
        to
    }
}
