//! Machines that are put back, and the tree of who descends from whom.

use std::time::Duration;

use bhatti_api::sandbox::{CreateSandbox, ForkSandbox, RollbackSandbox, RolledBack, Sandbox};
use bhatti_api::snapshot::Snapshot;
use bhatti_client::client::Client;
use bhatti_client::error::Error;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::witness;

use crate::refusal::refused;

/// Longest time that any of several requests at once may take. None of them waits for a limit of
/// its own.
const RACE_LIMIT: Duration = Duration::from_mins(2);

async fn rollback(client: &Client, name: &str, to: &str) -> Result<RolledBack, Error> {
    let rollback = RollbackSandbox {
        to: to.to_owned(),
        force: false,
    };
    client.sandbox_rollback(name, &rollback).await
}

async fn force(client: &Client, name: &str, to: &str) -> Result<RolledBack, Error> {
    let rollback = RollbackSandbox {
        to: to.to_owned(),
        force: true,
    };
    client.sandbox_rollback(name, &rollback).await
}

async fn automatic(client: &Client) -> Vec<String> {
    let list = client.snapshot_list().await.expect("the list is given");
    let automatic = list.into_iter().filter(|snapshot| snapshot.automatic);
    automatic.map(|snapshot: Snapshot| snapshot.name).collect()
}

#[tokio::test]
async fn a_machine_is_put_back_in_place_and_what_it_was_is_kept() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let new = CreateSandbox {
        name: Some("dev".to_owned()),
        memory_mb: Some(256),
        labels: [("pool".to_owned(), "workers".to_owned())].into(),
        env: [("STAGE".to_owned(), "one".to_owned())].into(),
        ..CreateSandbox::default()
    };
    client.sandbox_create(&new).await.expect("it is made");
    let dev = Guest::new(daemon.client(), "dev");
    let captured = witness::start(&dev).await;
    dev.sh("echo precious > /root/file; sync").await;
    let (view, before) = (dev.view().await, dev.identity().await);
    dev.checkpoint("pre").await.expect("a checkpoint is taken");
    dev.sh("rm /root/file; echo later > /dev/shm/later; sync")
        .await;
    let asked = witness::ask(&dev).await;
    let later = witness::count_on(&dev, &asked).await;

    let back = rollback(&client, "dev", "pre")
        .await
        .expect("it is put back");
    assert_eq!(back.kept_as.as_deref(), Some("dev-before-pre-1"));
    // What is told of its idleness is told of one sandbox alone.
    let now = Sandbox {
        idle: None,
        ..dev.view().await
    };
    assert_eq!(now, back.sandbox);
    assert_eq!(
        (&now.id, &now.name, &now.labels, now.thermal.as_str()),
        (&view.id, &view.name, &view.labels, "hot")
    );
    let copy = witness::ask(&dev).await;
    copy.assert_follows(&captured);
    witness::count_on(&dev, &copy).await;
    let line = "cat /root/file; echo $STAGE; test ! -e /dev/shm/later";
    assert_eq!(dev.sh(line).await, "precious\none");
    let after = dev.identity().await;
    assert_eq!(
        (&after.hostname, &after.machine_id, &after.boot_id),
        (&before.hostname, &before.machine_id, &before.boot_id)
    );
    assert_ne!(after.random, before.random);
    dev.check_clock().await;
    assert_eq!(daemon.machines().await.len(), 1);

    // What it was is whole.
    let was = Guest::resume(daemon.client(), "dev-before-pre-1", "was").await;
    let was = was.expect("what was kept is resumed");
    witness::ask(&was).await.assert_follows(&later);
    let line = "test ! -e /root/file && cat /dev/shm/later";
    assert_eq!(was.sh(line).await, "later");

    // It sleeps and wakes as before, and is put back from its sleep.
    client.sandbox_stop("dev").await.expect("it stops");
    let back = rollback(&client, "dev", "pre")
        .await
        .expect("it is put back");
    assert_eq!(back.kept_as.as_deref(), Some("dev-before-pre-2"));
    witness::ask(&dev).await.assert_follows(&captured);
    client.sandbox_stop("dev").await.expect("it stops");
    assert_eq!(dev.sh("cat /root/file").await, "precious");

    // The last three are kept.
    for _ in 3..=4 {
        rollback(&client, "dev", "pre")
            .await
            .expect("it is put back");
    }
    let kept = ["dev-before-pre-2", "dev-before-pre-3", "dev-before-pre-4"];
    assert_eq!(automatic(&client).await, kept);
    assert_eq!(daemon.inventory().await.snapshots.len(), 4);

    // One that was kept is gone back to like any other.
    let back = rollback(&client, "dev", "dev-before-pre-4")
        .await
        .expect("it is put back");
    let name = "dev-before-dev-before-pre-4-1";
    assert_eq!(back.kept_as.as_deref(), Some(name));
    witness::ask(&dev).await.assert_follows(&captured);

    let fork = ForkSandbox {
        name: Some("try".to_owned()),
        count: Some(1),
        wait_sec: None,
    };
    client.sandbox_fork("dev", &fork).await.expect("a fork");
    client.snapshot_delete("pre").await.expect("it is deleted");
    client
        .snapshot_delete("dev-before-pre-3")
        .await
        .expect("it is deleted");
    let text = daemon.cli(&["tree"]).await.success();
    let sizes = |line: &str| {
        // How much a checkpoint takes differs a little from run to run.
        match line.split_once(", 256 MB, ") {
            Some((begin, _)) => format!("{begin}, 256 MB, …)"),
            None => line.to_owned(),
        }
    };
    let lines: Vec<_> = text.lines().map(sizes).collect();
    let gone = lines.iter().find(|line| line.ends_with("(deleted)"));
    let gone = gone.expect("an ancestor is gone").clone();
    assert_eq!(
        lines,
        [
            "dev (hot, 256 MB)",
            "├── dev-before-pre-4 (automatic checkpoint, 256 MB, …)",
            "├── dev-before-dev-before-pre-4-1 (automatic checkpoint, 256 MB, …)",
            "└── try (hot, 256 MB)",
            gone.as_str(),
            "└── was (hot, 256 MB)",
        ]
    );
    let text = daemon.cli(&["tree", "try"]).await.success();
    assert_eq!(text, "try (hot, 256 MB)\n");
}

#[tokio::test]
async fn what_can_not_be_put_back_stays_as_it_is() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let dev = Guest::create(daemon.client(), "dev").await;
    let captured = witness::start(&dev).await;
    dev.checkpoint("pre").await.expect("a checkpoint is taken");
    let other = Guest::resume(daemon.client(), "pre", "other").await;
    let other = other.expect("it is resumed");

    let (status, message) = refused(rollback(&client, "other", "pre").await);
    assert_eq!(status, 409, "{message}");
    assert!(message.contains("another sandbox"), "{message}");
    let told = daemon
        .cli(&["rollback", "other", "--to", "pre", "--yes"])
        .await;
    assert!(
        told.errors().contains("bhatti snapshot resume pre"),
        "{told:?}"
    );
    assert_eq!(refused(rollback(&client, "dev", "nosuch").await).0, 404);
    assert_eq!(refused(rollback(&client, "nosuch", "pre").await).0, 404);
    witness::ask(&other).await.assert_follows(&captured);
    let now = witness::ask(&dev).await;
    now.assert_follows(&captured);
    assert_eq!(automatic(&client).await, Vec::<String>::new());

    // Without a memory there is nothing to keep: only by force.
    dev.end().await;
    let (status, message) = refused(rollback(&client, "dev", "pre").await);
    assert_eq!(status, 409, "{message}");
    assert_eq!(dev.view().await.thermal, "off");
    let back = force(&client, "dev", "pre").await.expect("it is put back");
    assert_eq!(back.kept_as, None);
    witness::ask(&dev).await.assert_follows(&captured);
}

#[tokio::test]
async fn requests_that_meet_a_rollback_have_their_answers() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let dev = Guest::create(daemon.client(), "dev").await;
    let captured = witness::start(&dev).await;
    dev.checkpoint("pre").await.expect("a checkpoint is taken");
    let race = async {
        tokio::join!(
            rollback(&client, "dev", "pre"),
            dev.try_sh("sleep 1; echo done"),
            dev.try_sh("echo hello"),
            client.sandbox_stop("dev"),
            rollback(&client, "dev", "pre"),
            dev.checkpoint("second"),
            client.snapshot_delete("second"),
        )
    };
    let answers = Box::pin(tokio::time::timeout(RACE_LIMIT, race)).await;
    let (one, slow, quick, stop, two, second, deleted) = answers.expect("all have their answers");
    let kept = [one, two].map(|back| back.expect("it is put back").kept_as);
    assert!(kept.iter().all(Option::is_some), "{kept:?}");
    for answer in [slow, quick] {
        match answer {
            Ok(result) => assert_eq!(result.exit_code, 0, "{result:?}"),
            // It ran in the machine that was put back.
            Err(error) => assert!(error.to_string().contains("connection"), "{error:?}"),
        }
    }
    // A command that came meanwhile kept it awake, or woke it.
    let stop = stop.map(|view| view.status);
    if let Err(error) = stop {
        assert_eq!(refused(Err::<(), _>(error)).0, 409);
    }
    second.expect("a checkpoint is taken");
    // It was there already, or not yet.
    deleted.err().map(|error| refused(Err::<(), _>(error)).0);
    witness::ask(&dev).await.assert_follows(&captured);

    // Destroyed in the middle of it: one of the two came first.
    let race = async {
        tokio::join!(
            rollback(&client, "dev", "pre"),
            client.sandbox_destroy("dev"),
            dev.try_sh("true"),
        )
    };
    let answers = tokio::time::timeout(RACE_LIMIT, race).await;
    let (back, gone, _) = answers.expect("all have their answers");
    gone.expect("it is destroyed");
    if let Err(error) = back {
        assert_eq!(refused(Err::<(), _>(error)).0, 404);
    }
    let found = daemon.inventory().await;
    assert_eq!((found.sandboxes.len(), found.machines.len()), (0, 0));
    let listed = client.snapshot_list().await.expect("the list is given");
    assert_eq!(found.snapshots.len(), listed.len());
}
