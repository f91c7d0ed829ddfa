//! Daemons that keep their machines in a pool of their own, and such that can't.

use std::path::Path;

use bhatti_api::host::Storage;
use bhatti_api::sandbox::CreateSandbox;
use bhatti_host::command::Command;
use bhatti_host::pool::release::release;
use bhatti_image::image::Image;
use bhatti_testing::artifacts;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

/// Why pools can't be made here, said as skipped tests say it.
async fn cannot_run() -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        "needs root"
    } else if !Path::new("/dev/loop-control").exists() {
        "needs loop devices"
    } else if Command::new("mkfs.xfs").arg("-V").run().await.is_err() {
        "needs `mkfs.xfs` (xfsprogs)"
    } else {
        return false;
    };
    #[expect(clippy::print_stderr, reason = "this is how a skipped test says so")]
    {
        eprintln!("skipped: {missing}");
    }
    true
}

/// A daemon with a pool.
async fn with_pool() -> Daemon {
    let daemon = Daemon::start_with(&["--storage", "pool"]).await;
    assert_eq!(storage(&daemon).await.kind, "pool");
    daemon
}

async fn storage(daemon: &Daemon) -> Storage {
    let version = daemon.client().version().await.expect("the daemon answers");
    version.storage.expect("it says where machines are kept")
}

/// Mounts and loop devices that belong to a data directory.
fn left_on_the_host(data: &Path) -> Vec<String> {
    let data = data.to_str().expect("the path is text");
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").expect("mounts are listed");
    let mut left: Vec<_> = mounts
        .lines()
        .filter(|line| line.contains(data))
        .map(str::to_owned)
        .collect();
    for entry in fs_err::read_dir("/sys/block").expect("devices are listed") {
        let device = entry.expect("a device is listed").path();
        let behind = fs_err::read_to_string(device.join("loop/backing_file"));
        left.extend(behind.ok().filter(|path| path.contains(data)));
    }
    left
}

#[tokio::test]
async fn machines_live_in_the_pool_and_it_goes_without_a_trace() {
    if cannot_run().await {
        return;
    }
    let mut daemon = with_pool().await;
    let data = daemon.data_dir();
    assert!(!data.join("sandboxes").exists());
    let guest = Guest::create(daemon.client(), "one").await;
    guest.sh("echo word > /dev/shm/word").await;
    guest
        .checkpoint("pre")
        .await
        .expect("a checkpoint is taken");
    let id = guest.view().await.id;
    assert!(daemon.storage().join("sandboxes").join(&id).exists());

    // The machine goes on without its daemon, and so does the pool under it.
    daemon.stop().await;
    assert!(release(&data).is_err(), "a machine uses it");
    daemon.serve(&["--storage", "auto"]).await;
    assert_eq!(storage(&daemon).await.kind, "pool");
    assert_eq!(guest.sh("cat /dev/shm/word").await, "word");
    let copy = Guest::resume(daemon.client(), "pre", "two").await;
    let copy = copy.expect("a copy is made");
    assert_eq!(copy.sh("cat /dev/shm/word").await, "word");

    // After a reboot nothing is mounted.
    for name in ["one", "two"] {
        let slept = daemon.cli(&["stop", name]).await;
        slept.success();
    }
    daemon.stop().await;
    release(&data).expect("nothing uses the pool");
    assert_eq!(left_on_the_host(&data), Vec::<String>::new());
    daemon.serve(&[]).await;
    assert_eq!(guest.sh("cat /dev/shm/word").await, "word");

    for name in ["one", "two"] {
        let client = daemon.client();
        client.sandbox_destroy(name).await.expect("it is destroyed");
    }
    let client = daemon.client();
    client.snapshot_delete("pre").await.expect("it is deleted");
    let left = daemon.inventory().await;
    assert!(left.sandboxes.is_empty() && left.snapshots.is_empty());
    assert!(left.machines.is_empty());
    daemon.stop().await;
    release(&data).expect("nothing uses the pool");
    assert_eq!(left_on_the_host(&data), Vec::<String>::new());
}

#[tokio::test]
async fn an_image_that_is_put_there_is_moved_to_the_pool_and_the_newest_is_used() {
    if cannot_run().await {
        return;
    }
    let daemon = with_pool().await;
    let (put, taken) = (
        daemon.data_dir().join("images/base"),
        daemon.storage().join("images/base"),
    );
    assert!(!put.exists());
    let first = Image::open(&taken).expect("it was moved").id;
    // Another one of that name, while the daemon runs.
    artifacts::install_base_image(&daemon.data_dir());
    let manifest = put.join("image.json");
    let text = fs_err::read_to_string(&manifest).expect("the manifest is read");
    let second = text.replace(first.as_str(), "img_00000000000000aa");
    // The one that was put there is a link to the cache's.
    fs_err::remove_file(&manifest).expect("the link is removed");
    fs_err::write(&manifest, second).expect("the manifest is written");
    let second = Image::open(&put).expect("it is an image").id;
    assert_ne!(first, second);
    let shown = daemon.client().image_get("base").await;
    assert_eq!(shown.expect("it is shown").id, second.as_str());
    assert_eq!(Image::open(&taken).expect("it was moved").id, second);
    assert!(!put.exists());
}

#[tokio::test]
async fn work_that_there_is_no_room_for_is_refused_before_anything_is_made() {
    let mut daemon = Daemon::prepare();
    artifacts::install(&daemon.data_dir());
    let config = daemon.home().join(".bhatti");
    fs_err::create_dir(&config).expect("a directory can be made");
    fs_err::write(config.join("config.yaml"), "disk_reserve_mb: 1000000000\n")
        .expect("the configuration is written");
    daemon.serve(&[]).await;
    assert_eq!(storage(&daemon).await.free_bytes, 0);
    let before = daemon.inventory().await;
    let error = daemon
        .client()
        .sandbox_create(&CreateSandbox::default())
        .await
        .expect_err("there is no room");
    assert_eq!(error.status().map(|status| status.as_u16()), Some(503));
    assert!(error.to_string().contains("no room"), "{error:?}");
    assert_eq!(daemon.inventory().await, before);
    let list = daemon.client().sandbox_list(&[]).await;
    assert!(list.expect("the list is shown").is_empty());
}

#[tokio::test]
async fn an_old_data_directory_stays_as_it_is() {
    let mut daemon = Daemon::prepare();
    fs_err::create_dir_all(daemon.data_dir().join("snapshots/snp_0123456789abcdef"))
        .expect("a directory can be made");
    daemon.spawn(&["--storage", "pool"]);
    assert_eq!(daemon.ended().await.code(), Some(1));
    let log = fs_err::read_to_string(daemon.log()).expect("the log is there");
    assert!(log.contains("outside of a pool"), "{log}");
    assert!(log.contains("hint: "), "{log}");
    assert!(!daemon.data_dir().join("pool.img").exists());
    daemon.serve(&["--storage", "auto"]).await;
    assert_ne!(storage(&daemon).await.kind, "pool");
}
