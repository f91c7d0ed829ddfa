//! Forks and rollbacks that are cut off at every step, by the end of the daemon or a failure.

use std::collections::BTreeSet;

use bhatti_api::sandbox::{ForkSandbox, RollbackSandbox, RolledBack, Sandbox, StartSandbox};
use bhatti_client::error::Error;
use bhatti_lifecycle::plan::PlanKind;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

/// The places at which a plan can be cut off, as `--fault` takes them: before its first step, and
/// after each of them.
fn places(plan: PlanKind) -> Vec<String> {
    let plan_name = plan.as_str();
    let first = plan
        .steps()
        .first()
        .map(|step| format!("{plan_name}:{}:before", step.as_str()));
    let after = plan.steps().iter();
    let after = after.map(|step| format!("{plan_name}:{}:after", step.as_str()));
    first.into_iter().chain(after).collect()
}

/// Starts the daemon anew with a fault.
async fn with_fault(daemon: &mut Daemon, fault: &str) {
    daemon.stop().await;
    daemon.serve(&["--fault", fault]).await;
}

/// Waits for a fault to end the daemon, and starts another.
async fn after_crash(daemon: &mut Daemon, fault: &str) {
    let status = daemon.ended().await;
    assert!(!status.success(), "{fault} did not strike");
    daemon.serve(&[]).await;
}

async fn list(daemon: &Daemon) -> Vec<Sandbox> {
    let list = daemon.client().sandbox_list(&[]).await;
    list.expect("the list is given")
}

/// What is on the host is what the records say, and nothing is half made.
async fn check_no_leak(daemon: &Daemon, told: &str) {
    let sandboxes = list(daemon).await;
    let snapshots = daemon.client().snapshot_list().await;
    let snapshots = snapshots.expect("the list is given");
    let found = daemon.inventory().await;
    let ids: BTreeSet<_> = sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect();
    assert_eq!(found.sandboxes, ids, "{told}");
    let ids: BTreeSet<_> = snapshots.into_iter().map(|snapshot| snapshot.id).collect();
    assert_eq!(found.snapshots, ids, "{told}");
    let running = sandboxes
        .iter()
        .filter(|sandbox| sandbox.status == "running");
    let running: BTreeSet<_> = running.map(|sandbox| sandbox.id.clone()).collect();
    let machines: BTreeSet<_> = found.machines.into_iter().collect();
    assert_eq!(machines, running, "{told}");
    let forks = fs_err::read_dir(daemon.data_dir().join("forks"));
    assert_eq!(
        forks.map_or(0, Iterator::count),
        0,
        "a capture was left: {told}"
    );
    for sandbox in &sandboxes {
        let dir = daemon.data_dir().join("sandboxes").join(&sandbox.id);
        let entries = fs_err::read_dir(dir).expect("the directory is there");
        let names = entries.map(|entry| entry.expect("it is read").file_name());
        let half: Vec<_> = names
            .filter(|name| name.to_string_lossy().starts_with(".new-"))
            .collect();
        assert!(half.is_empty(), "{half:?} left: {told}");
    }
}

async fn fork(daemon: &Daemon, count: u64) -> Result<Vec<Sandbox>, Error> {
    let fork = ForkSandbox {
        name: Some("try".to_owned()),
        count: Some(count),
        wait_sec: None,
    };
    daemon.client().sandbox_fork("dev", &fork).await
}

async fn rollback(daemon: &Daemon) -> Result<RolledBack, Error> {
    let rollback = RollbackSandbox {
        to: "pre".to_owned(),
        force: false,
    };
    daemon.client().sandbox_rollback("dev", &rollback).await
}

/// Writes a word where only memory holds it, and another copy to the disk.
async fn write(guest: &Guest, word: &str) {
    let line = format!("echo {word} > /dev/shm/word; echo {word} > /root/word; sync");
    guest.sh(&line).await;
}

/// The words in memory and on disk; in memory there is none after a boot.
async fn read(guest: &Guest) -> (String, String) {
    let memory = guest
        .sh("cat /dev/shm/word 2> /dev/null || echo none")
        .await;
    (memory, guest.sh("cat /root/word").await)
}

fn both(word: &str) -> (String, String) {
    (word.to_owned(), word.to_owned())
}

#[tokio::test]
async fn a_fork_that_is_cut_off_leaves_its_source_and_no_half_copy() {
    let mut daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    write(&dev, "kept").await;
    for plan in [PlanKind::Fork, PlanKind::ForkCold] {
        for place in places(plan) {
            for effect in ["abort", "fail"] {
                let fault = format!("{place}:{effect}");
                with_fault(&mut daemon, &fault).await;
                let client = daemon.client();
                if plan == PlanKind::ForkCold {
                    client.sandbox_stop("dev").await.expect("it stops");
                }
                fork(&daemon, 2).await.expect_err("it was cut off");
                if effect == "abort" {
                    after_crash(&mut daemon, &fault).await;
                }
                check_no_leak(&daemon, &fault).await;
                let there = list(&daemon).await;
                assert_eq!(there.len(), 1, "{fault}: {there:?}");
                let cold = plan == PlanKind::ForkCold;
                assert_eq!(there[0].thermal == "cold", cold, "{fault}");
                assert_eq!(read(&dev).await, both("kept"), "{fault}");
            }
        }
    }
    // In the middle of the copies: those that are there are whole.
    for place in [
        "make-directory:after",
        "launch-saved:after",
        "commit-hot:after",
    ] {
        let fault = format!("resume:{place}:abort");
        with_fault(&mut daemon, &fault).await;
        fork(&daemon, 3).await.expect_err("the daemon is gone");
        after_crash(&mut daemon, &fault).await;
        check_no_leak(&daemon, &fault).await;
        for sandbox in list(&daemon).await {
            let guest = Guest::new(daemon.client(), &sandbox.name);
            assert_eq!(read(&guest).await, both("kept"), "{fault}");
            assert_eq!(guest.sh("hostname").await, sandbox.name);
            if sandbox.name != "dev" {
                let destroyed = daemon.client().sandbox_destroy(&sandbox.name).await;
                destroyed.expect("it is destroyed");
            }
        }
    }
}

/// Brings the sandbox to where a rollback begins: another word than that in the checkpoint.
async fn move_on(daemon: &Daemon, dev: &Guest) {
    let started = daemon
        .client()
        .sandbox_start("dev", &StartSandbox::default())
        .await;
    started.expect("it starts");
    write(dev, "new").await;
}

/// Checks what a rollback that was cut off has left: what was there before, what was in the
/// checkpoint, or, without a memory, the disk of one of the two.
async fn check_left(daemon: &Daemon, dev: &Guest, fault: &str) {
    check_no_leak(daemon, fault).await;
    let view = dev.view().await;
    let found = read(dev).await;
    let whole = match view.thermal.as_str() {
        "off" => found.0 == "none" && ["old", "new"].contains(&found.1.as_str()),
        _ => [both("old"), both("new")].contains(&found),
    };
    assert!(whole, "{fault}: {found:?} {view:?}");
    // What it was is lost only if it was kept.
    if found.0 != "new" {
        let snapshots = daemon.client().snapshot_list().await;
        let snapshots = snapshots.expect("the list is given");
        let kept = snapshots.iter().filter(|snapshot| snapshot.automatic);
        let kept = kept.max_by_key(|kept| kept.created_at.clone());
        let kept = kept.unwrap_or_else(|| panic!("{fault}: nothing was kept"));
        // Looked into where nothing else has it any more.
        if fault.contains("swap-disk") || fault.contains("launch-saved") {
            let was = Guest::resume(daemon.client(), &kept.name, "was").await;
            let was = was.unwrap_or_else(|error| panic!("{fault}: {kept:?}: {error:?}"));
            assert_eq!(read(&was).await, both("new"), "{fault}");
            let destroyed = daemon.client().sandbox_destroy("was").await;
            destroyed.expect("it is destroyed");
        }
    }
}

async fn rollbacks_cut_off(effect: &str) {
    let mut daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    write(&dev, "old").await;
    dev.checkpoint("pre").await.expect("a checkpoint is taken");
    for place in [places(PlanKind::Keep), places(PlanKind::Rollback)].concat() {
        let fault = format!("{place}:{effect}");
        with_fault(&mut daemon, &fault).await;
        move_on(&daemon, &dev).await;
        rollback(&daemon).await.expect_err("it was cut off");
        if effect == "abort" {
            after_crash(&mut daemon, &fault).await;
        }
        check_left(&daemon, &dev, &fault).await;
    }
    // It can still be put back.
    rollback(&daemon).await.expect("it is put back");
    assert_eq!(read(&dev).await, both("old"));
}

#[tokio::test]
async fn a_rollback_whose_daemon_ends_leaves_one_whole_machine_and_what_it_was() {
    rollbacks_cut_off("abort").await;
}

#[tokio::test]
async fn a_rollback_that_fails_leaves_one_whole_machine_and_what_it_was() {
    rollbacks_cut_off("fail").await;
}

#[tokio::test]
async fn a_sleeping_machine_whose_rollback_is_cut_off_is_whole() {
    let mut daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    write(&dev, "old").await;
    dev.checkpoint("pre").await.expect("a checkpoint is taken");
    let places = [
        "copy-aside",
        "kill-machine",
        "commit-off",
        "swap-disk",
        "launch-saved",
    ];
    for effect in ["abort", "fail"] {
        for place in places {
            let fault = format!("rollback:{place}:after:{effect}");
            with_fault(&mut daemon, &fault).await;
            move_on(&daemon, &dev).await;
            daemon.client().sandbox_stop("dev").await.expect("it stops");
            rollback(&daemon).await.expect_err("it was cut off");
            if effect == "abort" {
                after_crash(&mut daemon, &fault).await;
            }
            check_left(&daemon, &dev, &fault).await;
        }
    }
}
