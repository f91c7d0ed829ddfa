//! Machines put to disk and taken up again.

use std::path::PathBuf;

use bhatti_api::sandbox::{Sandbox, StartSandbox};
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::witness;

use crate::files::names;

/// Where a sandbox's memory lies while it sleeps.
fn cold_image(daemon: &Daemon, sandbox: &Sandbox) -> PathBuf {
    daemon
        .data_dir()
        .join("sandboxes")
        .join(&sandbox.id)
        .join("cold")
}

async fn stop(guest: &Guest) -> Sandbox {
    let stopped = guest.client().sandbox_stop(guest.name()).await;
    stopped.expect("the sandbox stops")
}

async fn start(guest: &Guest, force: bool) -> Sandbox {
    let started = guest
        .client()
        .sandbox_start(
            guest.name(),
            &StartSandbox {
                force,
                ..StartSandbox::default()
            },
        )
        .await;
    started.expect("the sandbox starts")
}

/// A sandbox without what is only told when it alone is asked for.
fn record(sandbox: Sandbox) -> Sandbox {
    Sandbox {
        idle: None,
        ..sandbox
    }
}

fn words(sandbox: &Sandbox) -> (&str, &str) {
    (&sandbox.status, &sandbox.thermal)
}

#[tokio::test]
async fn a_stopped_sandbox_goes_on_from_the_same_moment_and_its_checkpoint_too() {
    let daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    let captured = witness::start(&dev).await;
    let before = dev.identity().await;

    let stopped = stop(&dev).await;
    assert_eq!(words(&stopped), ("stopped", "cold"));
    assert!(stopped.stopped_at.is_some());
    assert_eq!(stopped.reason, None);
    assert_eq!(daemon.machines().await, []);
    let cold = cold_image(&daemon, &stopped);
    assert!(cold.is_dir(), "{}", cold.display());
    assert_eq!(
        stop(&dev).await,
        stopped,
        "stopping what is stopped changes nothing"
    );

    // A checkpoint does not wake it, and copies go on from the moment it fell asleep.
    dev.checkpoint("night")
        .await
        .expect("a checkpoint is taken");
    assert_eq!(record(dev.view().await), stopped);
    assert_eq!(daemon.machines().await, []);
    assert!(cold.is_dir(), "{}", cold.display());
    let copy = Guest::resume(daemon.client(), "night", "copy")
        .await
        .expect("it resumes");
    witness::ask(&copy).await.assert_follows(&captured);
    let twin = copy.identity().await;
    assert_eq!(
        (twin.hostname.as_str(), &twin.boot_id),
        ("copy", &before.boot_id)
    );
    assert_ne!(twin.machine_id, before.machine_id);
    copy.check_clock().await;
    assert_eq!(record(dev.view().await), stopped);
    daemon
        .client()
        .sandbox_destroy("copy")
        .await
        .expect("it is destroyed");

    let started = start(&dev, false).await;
    assert_eq!(words(&started), ("running", "hot"));
    assert!(!cold.exists(), "the cold image is used once");
    let woken = witness::ask(&dev).await;
    woken.assert_follows(&captured);
    dev.check_clock().await;
    let after = dev.identity().await;
    assert_eq!(
        (&after.hostname, &after.boot_id),
        (&before.hostname, &before.boot_id)
    );
    assert_eq!(after.machine_id, before.machine_id);
    let machines = daemon.machines().await;
    assert_eq!(words(&start(&dev, false).await), ("running", "hot"));
    assert_eq!(
        daemon.machines().await,
        machines,
        "starting what runs changes nothing"
    );

    // Any command wakes it as well.
    stop(&dev).await;
    let woken_again = witness::ask(&dev).await;
    woken_again.assert_follows(&woken);
    assert_eq!(words(&dev.view().await), ("running", "hot"));

    // Given up memory takes processes and tmpfs with it; what was written to the disk stays.
    dev.sh("echo memory > /dev/shm/kept; echo disk > /var/tmp/kept")
        .await;
    stop(&dev).await;
    assert!(cold.is_dir(), "{}", cold.display());
    let started = start(&dev, true).await;
    assert_eq!(words(&started), ("running", "hot"));
    assert!(!cold.exists(), "the cold image is given up");
    let booted = dev.identity().await;
    assert_ne!(booted.boot_id, before.boot_id);
    assert_eq!(
        (&booted.hostname, &booted.machine_id),
        (&before.hostname, &before.machine_id)
    );
    assert_eq!(dev.sh("cat /var/tmp/kept").await, "disk");
    dev.sh("test ! -e /dev/shm/kept && test ! -e /run/witness")
        .await;
    dev.check_clock().await;
}

#[tokio::test]
async fn ten_naps_in_a_row_lose_neither_memory_nor_disk() {
    let daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    let mut last = witness::start(&dev).await;
    let before = dev.identity().await;
    let dir = daemon
        .data_dir()
        .join("sandboxes")
        .join(dev.view().await.id);
    let mut marks = String::new();
    let mut files = None;
    for n in 1..=10 {
        dev.sh(&format!(
            "echo {n} | tee -a /dev/shm/marks >> /var/tmp/marks"
        ))
        .await;
        marks = format!("{marks}{n}\n");
        assert_eq!(words(&stop(&dev).await), ("stopped", "cold"), "nap {n}");
        assert_eq!(daemon.machines().await, [], "nap {n}");
        if n % 2 == 0 {
            start(&dev, false).await;
        }
        let now = witness::ask(&dev).await;
        now.assert_follows(&last);
        last = now;
        let found = dev.sh("cat /dev/shm/marks && cat /var/tmp/marks").await;
        assert_eq!(found, format!("{marks}{marks}").trim_end(), "nap {n}");
        dev.check_clock().await;
        // Nothing heaps up from nap to nap.
        let now = names(&dir);
        assert_eq!(*files.get_or_insert(now.clone()), now, "nap {n}");
    }
    let after = dev.identity().await;
    assert_eq!(
        (&after.boot_id, &after.machine_id),
        (&before.boot_id, &before.machine_id)
    );
}
