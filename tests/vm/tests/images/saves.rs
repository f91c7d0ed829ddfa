//! Images of machines' disks.

use bhatti_api::image::{Image, SaveImage};
use bhatti_api::sandbox::CreateSandbox;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

/// Memory of the machines here, in MiB: that of the templates that tests share.
const MEMORY: u64 = 256;

async fn save(daemon: &Daemon, sandbox: &str, name: &str) -> Image {
    let save = SaveImage {
        name: name.to_owned(),
        host: false,
    };
    let saved = daemon.client().image_save(sandbox, &save).await;
    saved.unwrap_or_else(|error| panic!("{sandbox} as {name}: {error:?}"))
}

async fn create(daemon: &Daemon, name: &str, image: &str) -> Guest {
    let new = CreateSandbox {
        name: Some(name.to_owned()),
        image: Some(image.to_owned()),
        memory_mb: Some(MEMORY),
        ..CreateSandbox::default()
    };
    let made = daemon.client().sandbox_create(&new).await;
    made.unwrap_or_else(|error| panic!("{name} of {image}: {error:?}"));
    Guest::new(daemon.client(), name)
}

/// A program that writes all the time: lines of a number, each after it has written the one
/// before to the disk.
const WRITER: &str = "nohup sh -c 'n=0; while true; do n=$((n+1)); echo $n >> /var/tmp/lines; \
                      done' > /dev/null 2>&1 & echo $! > /run/writer";

/// Whether lines are the numbers from 1 up, whole but for the last.
const IN_ORDER: &str = "awk '$1 != NR { bad = 1 } END { print (NR > 0 && !bad) }' /var/tmp/lines";

#[tokio::test]
async fn a_machine_that_writes_is_saved_whole_and_goes_on() {
    let daemon = Daemon::start().await;
    let dev = create(&daemon, "dev", "base").await;
    dev.sh("echo kept > /workspace/file; mkdir /workspace/dir; ln -s file /workspace/link")
        .await;
    dev.sh(WRITER).await;
    let before = dev.identity().await;
    let saved = save(&daemon, "dev", "stack:1").await;
    assert_eq!(
        (saved.name.as_str(), saved.scope.as_str()),
        ("stack:1", "own")
    );
    assert_eq!(saved.source, "sandbox:dev");
    // It goes on: more lines are written than were there.
    dev.sh("n=$(wc -l < /var/tmp/lines); while [ $(wc -l < /var/tmp/lines) -le $n ]; do :; done")
        .await;
    dev.sh("kill $(cat /run/writer)").await;

    let copy = create(&daemon, "copy", "stack:1").await;
    // Frozen, the file system was written out whole: its journal had nothing to put right.
    let replayed = "dmesg | grep -c 'EXT4-fs.*recover' || true";
    assert_eq!(copy.sh(replayed).await, "0");
    assert_eq!(copy.sh("cat /workspace/link").await, "kept");
    assert_eq!(copy.sh(IN_ORDER).await, "1");
    let there = copy.identity().await;
    assert_eq!(there.hostname, "copy");
    assert_ne!(there.machine_id, before.machine_id);
    // Each has a disk of its own.
    copy.sh("echo copy > /workspace/file; sync").await;
    assert_eq!(dev.sh("cat /workspace/file").await, "kept");
}

#[tokio::test]
async fn a_machine_that_sleeps_is_saved_asleep() {
    let daemon = Daemon::start().await;
    let dev = create(&daemon, "dev", "base").await;
    dev.sh("echo kept > /workspace/file").await;
    let client = daemon.client();
    client.sandbox_stop("dev").await.expect("it is stopped");
    let saved = save(&daemon, "dev", "stack").await;
    assert_eq!(saved.source, "sandbox:dev");
    assert_eq!(daemon.machines().await, Vec::new());
    assert_eq!(dev.view().await.thermal, "cold");
    let copy = create(&daemon, "copy", "stack").await;
    assert_eq!(copy.sh("cat /workspace/file").await, "kept");
    assert_eq!(dev.sh("cat /workspace/file").await, "kept");
}
