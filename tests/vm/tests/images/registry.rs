//! A registry with small images that machines can be made of.

use std::path::Path;

use bhatti_host::command::Command;
use bhatti_testing::registry::layout::{self, Compression, ImageMade, LayerMade};
use bhatti_testing::registry::server::{Registry, available};
use serde_json::json;

/// What a machine of such an image is asked: who runs commands, where, with what, and which one
/// it is.
pub(crate) const TELL: &str = "echo $(id -u) $(pwd) $GREETING $(cat which)";

/// The program that all of an image's commands are.
const BUSYBOX: &str = "/bin/busybox";

/// A registry, and a place to make images in.
pub(crate) struct Shelf {
    registry: Registry,
    dir: tempfile::TempDir,
}

impl Shelf {
    /// Starts one; `None`, with the reason, where it can't be.
    pub(crate) async fn start() -> Option<Self> {
        if !available() {
            return None;
        }
        if !Path::new(BUSYBOX).exists() {
            #[expect(clippy::print_stdout, reason = "tells why nothing is tested")]
            {
                println!("skipped: needs the package busybox-static");
            }
            return None;
        }
        Some(Self {
            registry: Registry::start().await,
            dir: tempfile::tempdir().expect("a directory can be made"),
        })
    }

    /// The reference of a name.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("{}/{name}:1", self.registry.host())
    }
    /// Puts an image that says it is `which` into the registry, under a name, and gives its
    /// reference.
    pub(crate) async fn put(&self, name: &str, which: &str) -> String {
        let dir = tempfile::tempdir_in(&self.dir).expect("a directory can be made");
        let root = dir.path().join("root");
        for sub in ["bin", "etc", "srv"] {
            fs_err::create_dir_all(root.join(sub)).expect("a directory can be made");
        }
        fs_err::copy(BUSYBOX, root.join("bin/busybox")).expect("busybox can be copied");
        for program in ["sh", "cat", "id", "pwd", "echo"] {
            let link = root.join("bin").join(program);
            fs_err::os::unix::fs::symlink("busybox", link).expect("a link can be made");
        }
        fs_err::write(root.join("etc/passwd"), "app:x:1000:1000::/srv:/bin/sh\n")
            .expect("a file can be written");
        fs_err::write(root.join("srv/which"), which).expect("a file can be written");
        let tar = dir.path().join("layer.tar");
        Command::new("tar")
            .args(["--owner=0", "--group=0", "-C"])
            .arg(root)
            .arg("-cf")
            .arg(&tar)
            .arg(".")
            .run()
            .await
            .expect("tar runs");
        let layer = LayerMade {
            tar: fs_err::read(tar).expect("the archive is read"),
            compression: Compression::Gzip,
        };
        let image = ImageMade {
            arch: "amd64",
            config: json!({
                "User": "1000:1000", "WorkingDir": "/srv", "Env": ["GREETING=hello"],
            }),
            layers: vec![layer],
        };
        let made = layout::write(&dir.path().join("layout"), &[image]);
        self.registry.push(&made.dir, &format!("{name}:1")).await;
        self.reference(name)
    }
}
