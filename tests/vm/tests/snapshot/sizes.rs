//! What checkpoints take on disk, and that those that lie on others are whole.

use bhatti_api::snapshot::Snapshot;
use bhatti_host::command::Command;
use bhatti_host::files::{Cloned, clone_file};
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

/// Whether files of machines can share blocks.
fn shares(daemon: &Daemon) -> bool {
    let dir = daemon.storage().join("snapshots");
    let (probe, copy) = (dir.join(".new-probe"), dir.join(".new-copy"));
    fs_err::write(&probe, [1; 4096]).expect("a file is written");
    let cloned = clone_file(&probe, &copy).expect("it is cloned");
    for path in [probe, copy] {
        fs_err::remove_file(path).expect("it is removed");
    }
    cloned == Cloned::Reflink
}

#[tokio::test]
async fn checkpoints_on_checkpoints_are_whole_and_outlive_them() {
    chain(&[]).await;
}

#[tokio::test]
async fn checkpoints_on_checkpoints_in_a_pool_are_small_too() {
    let missing = if !rustix::process::geteuid().is_root() {
        "needs root"
    } else if Command::new("mkfs.xfs").arg("-V").run().await.is_err() {
        "needs `mkfs.xfs` (xfsprogs)"
    } else {
        return chain(&["--storage", "pool"]).await;
    };
    eprintln!("skipped: {missing}");
}

/// How many chunks of files called `name` were read and how many were known, one pair for each
/// template, checkpoint or cold image, as the daemon's log has it.
fn digested(daemon: &Daemon, name: &str) -> Vec<(u64, u64)> {
    let log = fs_err::read_to_string(daemon.log()).expect("the log is read");
    let lines = log.lines().filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let fields = &line["fields"];
        let wanted = fields["message"] == "chunks were digested" && fields["name"] == name;
        let count = |field: &str| fields[field].as_u64();
        wanted.then_some((count("work.read")?, count("work.inherited")?))
    });
    lines.collect()
}

async fn chain(arguments: &[&str]) {
    let mut daemon = Daemon::start_with(arguments).await;
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
        // The template lies on nothing; all after it cost what was dirtied since the one before.
        for (name, all) in [("disk.raw", 5), ("mem", 6)] {
            let digested = digested(&daemon, name);
            // It may have been there before the daemon.
            let built = digested.len() == all;
            assert!(built || digested.len() == all - 1, "{name}: {digested:?}");
            for (read, known) in &digested[usize::from(built)..] {
                assert!(read < known, "{name}: {digested:?}");
            }
        }
        let view = daemon.client().sandbox_get_with_usage("dev").await;
        let view = view.expect("it is shown");
        let own = view.disk_own_bytes.expect("it can be told");
        assert!(own < LITTLE, "{view:?}");
    } else {
        assert!(arguments.is_empty(), "a pool shares blocks");
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
    daemon.serve(arguments).await;
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
