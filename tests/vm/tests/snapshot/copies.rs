//! What goes on in a copy, what makes it another machine, and what becomes of its source.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bhatti_api::snapshot::Snapshot;
use bhatti_client::exec::{ExecOutput, ExecStep};
use bhatti_testing::counting;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::{Guest, assert_each_is_its_own};
use bhatti_testing::wait::wait_for;
use bhatti_testing::witness;
use futures::future::join_all;

use crate::files::{digests, dir};

/// Age of a checkpoint at which a clock that was not set would stand out.
const AGE: Duration = Duration::from_secs(6);
/// SIGTERM.
const TERM: i32 = 15;

/// A checkpoint without what changes as others come and go that share its blocks.
fn record(snapshot: Snapshot) -> Snapshot {
    Snapshot {
        disk_own_bytes: None,
        disk_shared_bytes: None,
        ..snapshot
    }
}

async fn resume(daemon: &Daemon, snapshot: &str, name: &str) -> Guest {
    let copy = Guest::resume(daemon.client(), snapshot, name).await;
    copy.unwrap_or_else(|error| panic!("{snapshot} as {name}: {error:?}"))
}

#[tokio::test]
async fn a_copy_goes_on_from_the_captured_moment_and_its_source_is_undisturbed() {
    let daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    witness::start(&dev).await;
    let before = dev.identity().await;
    let vmm = daemon.machines().await;
    let captured = witness::ask(&dev).await;

    let pre = dev.checkpoint("pre").await.expect("a checkpoint is taken");
    assert_eq!(
        (pre.name.as_str(), pre.source_sandbox.as_str()),
        ("pre", "dev")
    );
    assert_eq!(pre.size_mb, dev.view().await.memory_mb);
    let after = witness::ask(&dev).await;
    after.assert_follows(&captured);
    let source = witness::count_on(&dev, &after).await;

    let retry = resume(&daemon, "pre", "retry").await;
    let copy = witness::ask(&retry).await;
    copy.assert_follows(&captured);
    let copy = witness::count_on(&retry, &copy).await;
    witness::ask(&dev).await.assert_follows(&source);
    assert_ne!(copy.random, after.random);

    // From here on each has memory and a disk of its own.
    dev.sh("echo dev | tee /dev/shm/owner > /var/tmp/owner; sync")
        .await;
    retry
        .sh("test ! -e /dev/shm/owner && test ! -e /var/tmp/owner")
        .await;
    retry
        .sh("echo retry | tee /dev/shm/owner > /var/tmp/owner; sync")
        .await;
    let drop_caches = "echo 3 > /proc/sys/vm/drop_caches; cat /dev/shm/owner /var/tmp/owner";
    assert_eq!(dev.sh(drop_caches).await, "dev\ndev");
    assert_eq!(retry.sh(drop_caches).await, "retry\nretry");

    let here = dev.identity().await;
    assert_eq!(
        (&here.hostname, &here.etc_hostname),
        (&"dev".into(), &"dev".into())
    );
    assert_eq!(
        (&here.machine_id, &here.boot_id),
        (&before.machine_id, &before.boot_id)
    );
    let there = retry.identity().await;
    assert_eq!(
        (&there.hostname, &there.etc_hostname),
        (&"retry".into(), &"retry".into())
    );
    assert!(here.resolves && there.resolves, "{here:?} {there:?}");
    assert_ne!(there.machine_id, here.machine_id);
    assert_eq!(there.boot_id, here.boot_id);
    dev.check_clock().await;
    retry.check_clock().await;

    let (source, copy) = (dev.view().await, retry.view().await);
    assert_eq!(source.resumed_from, None);
    assert_eq!(copy.resumed_from.as_deref(), Some("pre"));
    for view in [&source, &copy] {
        assert_eq!(
            (view.status.as_str(), view.thermal.as_str()),
            ("running", "hot")
        );
    }
    assert_eq!(
        (copy.cpus, copy.memory_mb, copy.disk_size_mb, &copy.image),
        (
            source.cpus,
            source.memory_mb,
            source.disk_size_mb,
            &source.image
        )
    );
    let machines = daemon.machines().await;
    assert_eq!(machines.len(), 2);
    assert!(
        machines.contains(&vmm[0]),
        "the source's machine is the same"
    );
}

#[tokio::test]
async fn five_copies_side_by_side_are_six_machines_and_leave_the_checkpoint_as_it_is() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let dev = Guest::create(daemon.client(), "dev").await;
    let captured = witness::start(&dev).await;
    let pre = dev.checkpoint("pre").await.expect("a checkpoint is taken");
    let whole = digests(&dir(&daemon, &pre));

    let copies =
        join_all((1..=5).map(async |n| resume(&daemon, "pre", &format!("copy-{n}")).await)).await;
    let machines = [vec![dev], copies].concat();
    let told = join_all(machines.iter().map(witness::ask)).await;
    for testimony in &told {
        testimony.assert_follows(&captured);
    }
    let drawn: Vec<_> = told.iter().map(|told| &told.random).collect();
    let identities = assert_each_is_its_own(&machines, &drawn).await;
    for who in &identities {
        assert_eq!(who.boot_id, identities[0].boot_id);
    }
    join_all(machines.iter().map(Guest::check_clock)).await;
    assert_eq!(daemon.machines().await.len(), 6);

    // Writing to memory and disk, sleeping and waking, and going away do nothing to it.
    join_all(machines.iter().map(async |machine| {
        let write = "head -c 8M /dev/urandom > /dev/shm/new; cp /dev/shm/new /var/tmp/new; sync";
        machine.sh(write).await;
    }))
    .await;
    client.sandbox_stop("copy-1").await.expect("a copy stops");
    machines[1].sh("cmp /dev/shm/new /var/tmp/new").await;
    client
        .sandbox_destroy("copy-2")
        .await
        .expect("a copy is destroyed");
    assert_eq!(digests(&dir(&daemon, &pre)), whole);
    let last = resume(&daemon, "pre", "last").await;
    witness::ask(&last).await.assert_follows(&captured);
}

#[tokio::test]
async fn a_checkpoint_outlives_its_source_and_the_daemon_and_a_copy_outlives_the_checkpoint() {
    let mut daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    let captured = witness::start(&dev).await;
    let pre = dev.checkpoint("pre").await.expect("a checkpoint is taken");
    let taken = Instant::now();
    let whole = digests(&dir(&daemon, &pre));
    daemon
        .client()
        .sandbox_destroy("dev")
        .await
        .expect("the source is destroyed");
    assert_eq!(daemon.machines().await, []);

    let orphan = resume(&daemon, "pre", "orphan").await;
    witness::ask(&orphan).await.assert_follows(&captured);
    daemon.stop().await;
    daemon.serve(&[]).await;
    resume(&daemon, "pre", "after-stop").await;
    daemon
        .client()
        .sandbox_destroy("after-stop")
        .await
        .expect("it is destroyed");
    daemon.kill().await;
    daemon.serve(&[]).await;
    let client = daemon.client();
    let listed = client.snapshot_list().await.expect("the list is given");
    let listed: Vec<_> = listed.into_iter().map(record).collect();
    assert_eq!(listed, [record(pre.clone())]);
    // The clock of a copy is right however old its checkpoint is.
    wait_for("the checkpoint's age", AGE * 2, async || {
        let age = taken.elapsed();
        if age >= AGE { Ok(()) } else { Err(age) }
    })
    .await;
    // The name of the source is free, so a copy may have it.
    let dev = resume(&daemon, "pre", "dev").await;
    dev.check_clock().await;
    let copy = witness::ask(&dev).await;
    copy.assert_follows(&captured);
    assert_eq!(digests(&dir(&daemon, &pre)), whole);

    client
        .snapshot_delete("pre")
        .await
        .expect("the checkpoint is deleted");
    assert_eq!(client.snapshot_list().await.expect("the list is given"), []);
    assert_eq!(daemon.inventory().await.snapshots, BTreeSet::new());
    let copy = witness::count_on(&dev, &copy).await;
    client
        .sandbox_stop("dev")
        .await
        .expect("a copy without its checkpoint stops");
    daemon.stop().await;
    daemon.serve(&[]).await;
    witness::ask(&dev).await.assert_follows(&copy);
}

/// Reads what a command writes until there are `more` lines of it.
async fn read_lines(output: &mut ExecOutput, text: &mut String, more: usize) {
    let enough = text.lines().count() + more;
    while text.lines().count() < enough {
        match output.next().await.expect("the command goes on") {
            ExecStep::Stdout(bytes) => text.push_str(str::from_utf8(&bytes).expect("text")),
            other => panic!("unexpected: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_running_command_misses_nothing_while_checkpoints_are_taken() {
    let daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    let (mut input, mut output) = daemon
        .client()
        .exec_start("dev", &counting::command())
        .await
        .expect("the command starts");
    let mut text = String::new();
    read_lines(&mut output, &mut text, 10).await;
    for name in ["one", "two"] {
        let (taken, ()) =
            tokio::join!(dev.checkpoint(name), read_lines(&mut output, &mut text, 10));
        taken.expect("a checkpoint is taken");
        read_lines(&mut output, &mut text, 10).await;
    }
    input.signal(TERM).await.expect("the command gets a signal");
    let exit = loop {
        match output.next().await.expect("the command ends") {
            ExecStep::Stdout(bytes) => text.push_str(str::from_utf8(&bytes).expect("text")),
            ExecStep::Stderr(bytes) => panic!("unexpected: {bytes:?}"),
            ExecStep::Exit(exit) => break exit,
        }
    };
    assert_eq!((exit.code, exit.signal), (128 + TERM, Some(TERM)));
    for (expected, line) in text.lines().enumerate() {
        assert_eq!(line, expected.to_string());
    }

    // In the copy the command goes on too, although nobody reads what it writes.
    let copy = resume(&daemon, "two", "copy").await;
    let number = counting::number(&copy).await;
    counting::goes_on_from(&copy, number).await;
}
