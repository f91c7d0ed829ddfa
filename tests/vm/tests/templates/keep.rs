//! Which templates are kept, and that nothing made from them needs them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bhatti_api::template::{Template, WarmImage};
use bhatti_host::command::Command;
use bhatti_image::catalog::{Catalog, Owner};
use bhatti_image::image::{DISK, ImageManifest, MANIFEST};
use bhatti_testing::artifacts;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_types::id::ImageId;
use rustix::fs::FallocateFlags;

use crate::{bare, only, templates};

/// Time for a mount.
const MOUNT_LIMIT: Duration = Duration::from_secs(10);
/// What is taken of a small disk at a time, in bytes.
const FILLER: u64 = 64 << 20;

async fn warm(daemon: &Daemon, memory_mb: u64) -> Template {
    let size = WarmImage {
        memory_mb: Some(memory_mb),
        ..WarmImage::default()
    };
    let made = daemon.client().image_warm("base", &size).await;
    made.expect("a template is made")
}

#[tokio::test]
async fn the_least_recently_used_goes_and_machines_made_from_it_go_on() {
    let mut daemon = bare(&["--max-templates", "2"]).await;
    let first = warm(&daemon, 256).await;
    let second = warm(&daemon, 300).await;
    let dev = Guest::create(daemon.client(), "dev").await;
    // The first was used last, so the second goes.
    let third = warm(&daemon, 340).await;
    let ids = |all: Vec<Template>| all.into_iter().map(|one| one.id).collect::<Vec<_>>();
    let kept = ids(templates(&daemon).await);
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert!(kept.contains(&first.id) && kept.contains(&third.id) && !kept.contains(&second.id));

    // How often and when last outlives the daemon; a smaller limit holds at once.
    let used = templates(&daemon)
        .await
        .into_iter()
        .find(|one| one.id == first.id);
    daemon.stop().await;
    daemon.serve(&["--max-templates", "1"]).await;
    let left = only(&daemon).await;
    assert_eq!((left.id.as_str(), left.uses), (third.id.as_str(), 0));
    assert_eq!(used.map(|one| one.uses), Some(1));

    // None is left, and `dev` has memory that it never touched and a disk that it never read.
    let delete = ["template", "delete", "--yes", third.id.as_str()];
    daemon.cli(&delete).await.success();
    assert_eq!(daemon.inventory().await.templates.len(), 0);
    let read = dev
        .sh("cat /usr/bin/* /usr/lib/*/lib*.so* 2>/dev/null | sha256sum")
        .await;
    assert_eq!(read.len(), 64 + 3, "{read}");
    daemon.cli(&["stop", "dev"]).await.success();
    assert_eq!(dev.sh("hostname").await, "dev");
    dev.checkpoint("pre").await.expect("a checkpoint is taken");
    let copy = Guest::resume(daemon.client(), "pre", "copy")
        .await
        .expect("it resumes");
    assert_eq!(
        copy.sh("cat /usr/bin/* /usr/lib/*/lib*.so* 2>/dev/null | sha256sum")
            .await,
        read
    );
}

/// Puts another image in the place of `base`: the same files under another id.
fn replace_base(daemon: &Daemon) {
    let catalog = Catalog::open(daemon.data_dir().join("images")).expect("the catalog opens");
    let base = "base".parse().expect("a name");
    let image = catalog
        .get(&Owner::Host, &base)
        .expect("it can be read")
        .expect("it is there");
    let dir = image.disk.parent().expect("it lies in a directory");
    let text = fs_err::read(dir.join(MANIFEST)).expect("the manifest is read");
    let mut manifest: ImageManifest = serde_json::from_slice(&text).expect("it is JSON");
    manifest.id = ImageId::random();
    manifest.config.env = [("AGE".to_owned(), "new".to_owned())]
        .into_iter()
        .collect::<std::collections::BTreeMap<_, _>>()
        .try_into()
        .expect("variables");
    let other = tempfile::tempdir_in(daemon.data_dir()).expect("there is room");
    fs_err::hard_link(&image.disk, other.path().join(DISK)).expect("a link can be made");
    let text = serde_json::to_vec(&manifest).expect("it has text keys only");
    fs_err::write(other.path().join(MANIFEST), text).expect("the manifest is written");
    catalog.install(other.path()).expect("it is installed");
}

#[tokio::test]
async fn a_replaced_image_gets_a_new_template() {
    let daemon = bare(&[]).await;
    let old = Guest::create(daemon.client(), "old").await;
    let before = only(&daemon).await;
    replace_base(&daemon);
    let new = Guest::create(daemon.client(), "new").await;
    let after = only(&daemon).await;
    assert_ne!(before.id, after.id);
    assert_eq!((before.uses, after.uses), (1, 1));
    assert_eq!(new.sh("echo $AGE").await, "new");
    assert_eq!(old.sh("echo $AGE").await, "");
    assert_ne!(old.boot_id().await, new.boot_id().await);
    let inventory = daemon.inventory().await;
    assert_eq!(inventory.templates, [after.id].into());
}

/// A small file system over a directory.
struct Small(PathBuf);

impl Small {
    async fn mount(dir: &Path, size_mb: u64) -> Self {
        let size = format!("size={size_mb}m");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "bhatti-test"])
            .arg(dir);
        mount.limit(MOUNT_LIMIT).run().await.expect("it is mounted");
        Self(dir.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: machines that are being ended may still be in it.
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn a_short_disk_costs_the_template_that_was_used_least_and_no_create() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root, to mount a small file system");
        return;
    }
    let mut daemon = Daemon::prepare();
    let _small = Small::mount(&daemon.data_dir(), 2000).await;
    artifacts::install(&daemon.data_dir());
    bhatti_testing::templates::seed(&daemon.data_dir()).await;
    daemon.serve(&[]).await;
    let given = templates(&daemon).await.len();
    assert_eq!(given, 2);
    for round in 0..40 {
        // Always of 256 MB: the template of 1024 MB is never used.
        Guest::create(daemon.client(), "dev").await;
        let gone = daemon.client().sandbox_destroy("dev").await;
        gone.expect("it is destroyed");
        let left = templates(&daemon).await;
        if left.len() < given {
            assert!(round > 0, "there was room for both at first");
            let [left] = &left[..] else {
                panic!("more than was needed is gone: {left:?}");
            };
            assert_eq!((left.memory_mb, left.uses), (256, round + 1));
            assert_eq!(daemon.inventory().await.templates, [left.id.clone()].into());
            return;
        }
        let filler = daemon.data_dir().join(format!("filler-{round}"));
        let filler = fs_err::File::create(filler).expect("a file can be made");
        rustix::fs::fallocate(&filler, FallocateFlags::empty(), 0, FILLER)
            .expect("there is room in it");
    }
    panic!("no template made room");
}
