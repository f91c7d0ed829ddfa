//! A host whose disk is full, or fails: system calls of the daemon are made to fail, one kind after
//! the other, under everything that writes. Nothing is lost, nothing hangs, nothing is left.

use std::time::Duration;

use bhatti_api::sandbox::CreateSandbox;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::wait::wait_for;
use bhatti_testing::witness;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::create;

/// No request takes longer, whatever fails under it.
const ANSWER: Duration = Duration::from_mins(2);
/// Time for the tracer to take hold of the daemon, and to let go.
const ATTACH: Duration = Duration::from_secs(20);

/// What fails, and how.
const FAULTS: [(&str, &str); 9] = [
    ("fsync", "EIO"),
    ("fsync", "ENOSPC"),
    ("fdatasync", "EIO"),
    ("pwrite64", "ENOSPC"),
    ("ftruncate", "ENOSPC"),
    ("rename", "EIO"),
    ("linkat", "ENOSPC"),
    ("mkdir", "ENOSPC"),
    ("copy_file_range", "ENOSPC"),
];

/// The pid of who traces a process; 0 if nobody does.
fn tracer(pid: u32) -> u32 {
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"));
    line.and_then(|pid| pid.trim().parse().ok())
        .expect("the kernel tells of it")
}

/// Has system calls of a process fail, until this is dropped.
pub(crate) async fn fail(pid: u32, call: &str, error: &str) -> Child {
    let child = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            &format!("trace={call}"),
        ])
        .args([
            "-e",
            &format!("inject={call}:error={error}"),
            "-p",
            &pid.to_string(),
        ])
        .kill_on_drop(true)
        .spawn()
        .expect("strace is installed");
    wait_for("the tracer", ATTACH, async || match tracer(pid) {
        0 => Err(()),
        _ => Ok(()),
    })
    .await;
    child
}

#[tokio::test]
async fn a_disk_that_is_full_or_fails_loses_nothing_and_leaves_nothing() {
    let mut daemon = Daemon::start().await;
    let dev = create(&daemon, "dev", "never", "never").await;
    let mut last = witness::start(&dev).await;
    let client = daemon.client();
    let clean = daemon.inventory().await;
    for (call, error) in FAULTS {
        let told = format!("{call} fails with {error}");
        let tracing = fail(daemon.pid(), call, error).await;
        let slept = timeout(ANSWER, client.sandbox_stop("dev")).await;
        let slept = slept.unwrap_or_else(|_| panic!("{told}: stop hangs"));
        let taken = timeout(ANSWER, dev.checkpoint("full")).await;
        let taken = taken.unwrap_or_else(|_| panic!("{told}: checkpoint hangs"));
        let new = CreateSandbox {
            name: Some("other".to_owned()),
            memory_mb: Some(256),
            ..CreateSandbox::default()
        };
        let made = timeout(ANSWER, client.sandbox_create(&new)).await;
        let made = made.unwrap_or_else(|_| panic!("{told}: create hangs"));
        let woken = timeout(ANSWER, dev.try_sh("true")).await;
        let _ = woken.unwrap_or_else(|_| panic!("{told}: exec hangs"));
        println!(
            "{told}: stop {}, checkpoint {}, create {}",
            slept.is_ok(),
            taken.is_ok(),
            made.is_ok()
        );
        drop(tracing);
        let pid = daemon.pid();
        wait_for("the tracer's end", ATTACH, async || match tracer(pid) {
            0 => Ok(()),
            tracer => Err(tracer),
        })
        .await;

        // All is well again: the machine is what it was, and can do all it could.
        let now = dev.view().await;
        assert!(
            now.status == "running" || now.thermal == "cold",
            "{told}: {now:?}"
        );
        let testimony = witness::ask(&dev).await;
        testimony.assert_follows(&last);
        let slept = client.sandbox_stop("dev").await;
        slept.unwrap_or_else(|error| panic!("{told}: it no longer sleeps: {error}"));
        last = witness::ask(&dev).await;
        last.assert_follows(&testimony);
        if taken.is_ok() {
            let gone = client.snapshot_delete("full").await;
            gone.unwrap_or_else(|error| panic!("{told}: {error}"));
        }
        if made.is_ok() {
            let gone = client.sandbox_destroy("other").await;
            gone.unwrap_or_else(|error| panic!("{told}: {error}"));
        }
    }
    // What a failing disk would not let go of is gone after a restart at the latest.
    daemon.stop().await;
    daemon.serve(&[]).await;
    assert_eq!(daemon.inventory().await, clean);
    witness::ask(&dev).await.assert_follows(&last);
}
