//! What checkpoints take on disk, and that those that lie on others are whole.

use bhatti_api::snapshot::Snapshot;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::witness;

use crate::files::{dir, names};

/// More than a guest dirties by itself between two checkpoints, in bytes, and less than a
/// checkpoint that shares nothing.
const LITTLE: u64 = 100 << 20;

async fn shown(daemon: &Daemon, name: &str) -> Snapshot {
    let list = daemon.client().snapshot_list().await;
    let list = list.expect("the list is given");
    let found = list.into_iter().find(|snapshot| snapshot.name == name);
    found.unwrap_or_else(|| panic!("there is no {name}"))
}

fn sizes(snapshot: &Snapshot) -> (u64, u64) {
    let own = snapshot.disk_own_bytes.expect("it can be told");
    let shared = snapshot.disk_shared_bytes.expect("it can be told");
    (own, shared)
}

/// Whether files in the data directory can share blocks.
fn shares(daemon: &Daemon) -> bool {
    let probe = daemon.data_dir().join("tmp/probe");
    let copy = daemon.data_dir().join("tmp/copy");
    fs_err::write(&probe, [1; 4096]).expect("a file is written");
    let cloned = bhatti_host::files::clone_file(&probe, &copy).expect("it is cloned");
    cloned == bhatti_host::files::Cloned::Reflink
}

#[tokio::test]
async fn checkpoints_on_checkpoints_are_small_and_whole_and_outlive_them() {
    let mut daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    let captured = witness::start(&dev).await;
    let first = dev.checkpoint("first").await.expect("it is taken");
    dev.sh("head -c 5000000 /dev/urandom > /var/tmp/x; sync")
        .await;
    let second = dev.checkpoint("second").await.expect("it is taken");
    let stopped = daemon.client().sandbox_stop("dev").await;
    stopped.expect("it goes to sleep");
    // Of a sandbox that sleeps, and of one that lies on what it slept on.
    dev.checkpoint("third").await.expect("it is taken");
    dev.sh("cmp /var/tmp/x /var/tmp/x; sync").await;
    let fourth = dev.checkpoint("fourth").await.expect("it is taken");
    for snapshot in [&first, &second, &fourth] {
        let dir = dir(&daemon, snapshot);
        for table in ["mem.sums", "disk.raw.sums"] {
            assert!(names(&dir).contains(table), "{:?}", names(&dir));
        }
    }

    if shares(&daemon) {
        for name in ["second", "third", "fourth"] {
            let (own, shared) = sizes(&shown(&daemon, name).await);
            assert!(own < LITTLE && shared > LITTLE, "{name}: {own} {shared}");
        }
        let view = daemon.client().sandbox_get_with_usage("dev").await;
        let view = view.expect("it is shown");
        let own = view.disk_own_bytes.expect("it can be told");
        assert!(own < LITTLE, "{view:?}");
    } else {
        eprintln!("skipped in part: files can't share blocks here");
        let (own, _) = sizes(&shown(&daemon, "first").await);
        assert!(own > LITTLE, "{own}");
    }

    // Another daemon trusts nothing: it reads every byte of each before it goes on from it.
    daemon
        .client()
        .snapshot_delete("first")
        .await
        .expect("it is deleted");
    daemon.stop().await;
    daemon.serve(&[]).await;
    for name in ["second", "third", "fourth"] {
        let copy = format!("of-{name}");
        let copy = Guest::resume(daemon.client(), name, &copy).await;
        let copy = copy.expect("it resumes");
        witness::ask(&copy).await.assert_follows(&captured);
        let gone = daemon.client().sandbox_destroy(copy.name()).await;
        gone.expect("it is destroyed");
    }
    witness::ask(&dev).await.assert_follows(&captured);
}
