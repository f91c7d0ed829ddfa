//! Started clones that wait for creates.

use std::collections::BTreeSet;
use std::time::Duration;

use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::wait::wait_for;
use bhatti_testing::{artifacts, templates};
use rustix::process::{Pid, Signal, kill_process};

/// Time for a clone to be made or given up, on a host that does other things too.
const STOCK_LIMIT: Duration = Duration::from_mins(1);

/// A daemon with templates and a stock.
async fn stocked(pool: &str) -> Daemon {
    let mut daemon = Daemon::prepare();
    artifacts::install(&daemon.data_dir());
    templates::seed(&daemon.data_dir()).await;
    daemon.serve(&["--pool", pool]).await;
    daemon
}

/// Waits until so many clones of 256 MB are in stock.
async fn stock(daemon: &Daemon, wanted: u64) {
    wait_for("the stock", STOCK_LIMIT, async || {
        let all = crate::templates(daemon).await;
        let small = all.into_iter().find(|one| one.memory_mb == 256);
        match small.map(|one| one.pool) {
            Some(pool) if pool == wanted => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

/// The sandboxes' ids, as the daemon has them.
async fn known(daemon: &Daemon) -> BTreeSet<String> {
    let list = daemon
        .client()
        .sandbox_list(&[])
        .await
        .expect("the list is given");
    list.into_iter().map(|sandbox| sandbox.id).collect()
}

/// The ids of clones in stock: directories that belong to no sandbox.
async fn clones(daemon: &Daemon) -> BTreeSet<String> {
    let known = known(daemon).await;
    let mut all = daemon.inventory().await.sandboxes;
    all.retain(|id| !known.contains(id));
    all
}

#[tokio::test]
async fn a_create_takes_a_clone_and_another_takes_its_place() {
    let mut daemon = stocked("1").await;
    assert_eq!(
        clones(&daemon).await.len(),
        0,
        "nobody has asked for any yet"
    );
    let one = Guest::create(daemon.client(), "one").await;
    stock(&daemon, 1).await;
    let waiting = clones(&daemon).await;
    assert_eq!(waiting.len(), 1);

    let two = Guest::create(daemon.client(), "two").await;
    assert!(waiting.contains(&two.view().await.id), "{waiting:?}");
    assert_eq!(two.view().await.thermal, "hot");
    let (first, second) = (one.identity().await, two.identity().await);
    assert_eq!(
        (second.hostname.as_str(), second.etc_hostname.as_str()),
        ("two", "two")
    );
    assert_ne!(first.machine_id, second.machine_id);
    assert_ne!(first.random, second.random);
    two.check_clock().await;

    // A name that is taken costs the clone nothing.
    stock(&daemon, 1).await;
    let waiting = clones(&daemon).await;
    let again = daemon
        .cli(&["create", "--name", "two", "--memory", "256"])
        .await
        .success();
    assert!(again.contains("already exists"), "{again}");
    assert_eq!(clones(&daemon).await, waiting);

    // A dead one is not given out.
    let dead = daemon
        .machines()
        .await
        .into_iter()
        .find(|found| waiting.contains(found.sandbox.as_str()));
    let pid = dead.expect("its machine is there").process.pid;
    let pid = Pid::from_raw(pid as i32).expect("a pid is not 0");
    kill_process(pid, Signal::KILL).expect("it can be ended");
    let three = Guest::create(daemon.client(), "three").await;
    assert_eq!(three.sh("hostname").await, "three");
    assert!(!waiting.contains(&three.view().await.id));
    wait_for("another clone", STOCK_LIMIT, async || {
        let now = clones(&daemon).await;
        if now.len() == 1 && now.is_disjoint(&waiting) {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;

    // Its end takes the clones with it, and the sandboxes not.
    assert!(daemon.stop().await.success());
    let ended = daemon.inventory().await;
    assert_eq!((ended.machines.len(), ended.sandboxes.len()), (3, 3));
    daemon.serve(&["--pool", "1"]).await;
    assert_eq!(two.sh("hostname").await, "two");
}

#[tokio::test]
async fn clones_of_a_daemon_that_was_killed_or_of_a_deleted_template_are_gone() {
    let mut daemon = stocked("2").await;
    for name in ["one", "two"] {
        Guest::create(daemon.client(), name).await;
    }
    stock(&daemon, 2).await;
    assert_eq!(daemon.machines().await.len(), 4);
    daemon.kill().await;
    daemon.serve(&["--pool", "2"]).await;
    let left = daemon.inventory().await;
    assert_eq!((left.machines.len(), left.sandboxes.len()), (2, 2));
    Guest::create(daemon.client(), "three").await;
    stock(&daemon, 1).await;
    let all = crate::templates(&daemon).await;
    let small = all
        .iter()
        .find(|one| one.memory_mb == 256)
        .expect("it is there");
    daemon
        .cli(&["template", "delete", "--yes", &small.id])
        .await
        .success();
    let left = daemon.inventory().await;
    assert_eq!((left.machines.len(), left.sandboxes.len()), (3, 3));
}

#[tokio::test]
async fn a_clone_that_can_not_be_taken_is_followed_by_another_way() {
    let mut daemon = stocked("1").await;
    Guest::create(daemon.client(), "one").await;
    stock(&daemon, 1).await;
    daemon.stop().await;
    for step in ["run", "identify", "commit-hot"] {
        let fault = format!("take:{step}:before:fail");
        daemon.serve(&["--pool", "1", "--fault", &fault]).await;
        let name = format!("after-{step}");
        Guest::create(daemon.client(), &format!("{name}-first")).await;
        stock(&daemon, 1).await;
        let waiting = clones(&daemon).await;
        let guest = Guest::create(daemon.client(), &name).await;
        assert!(!waiting.contains(&guest.view().await.id), "{fault}");
        assert_eq!(guest.sh("hostname").await, name);
        daemon.stop().await;
        let left = daemon.inventory().await;
        assert_eq!(left.machines.len(), left.sandboxes.len(), "{fault}");
        assert!(waiting.is_disjoint(&left.sandboxes), "{fault}");
    }
}
