//! Daemons and machines that end in all the ways they can, and what the next daemon makes of it.

use std::collections::BTreeMap;
use std::time::Duration;

use bhatti_api::sandbox::Sandbox;
use bhatti_client::error::Error;
use bhatti_client::exec::ExecStep;
use bhatti_host::process::{self, ProcessId};
use bhatti_testing::counting;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::{Guest, as_root, lasting};
use bhatti_testing::wait::wait_for;
use bhatti_testing::witness;
use rustix::process::{Pid, Signal, kill_process};

/// Time for the daemon to take note of a machine's end.
const END_LIMIT: Duration = Duration::from_secs(30);
/// Time for a command to have started.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The VMM of each sandbox.
async fn machines(daemon: &Daemon) -> BTreeMap<String, ProcessId> {
    let found = daemon.machines().await.into_iter();
    found
        .map(|found| (found.sandbox.to_string(), found.process))
        .collect()
}

/// Ends a sandbox's VMM as `kill -9` does.
async fn kill_machine(daemon: &Daemon, sandbox: &Sandbox) {
    let process = machines(daemon).await[&sandbox.id];
    let pid = Pid::from_raw(process.pid as i32).expect("a pid is not 0");
    kill_process(pid, Signal::KILL).expect("the machine can be ended");
    wait_for("the machine's end", END_LIMIT, async || {
        if process::is_alive(process) {
            Err(process)
        } else {
            Ok(())
        }
    })
    .await;
}

/// Waits until a sandbox is shown as ended by itself.
async fn ended(guest: &Guest) -> Sandbox {
    wait_for("the sandbox to be stopped", END_LIMIT, async || {
        let view = guest.view().await;
        if view.status == "stopped" {
            Ok(view)
        } else {
            Err(view)
        }
    })
    .await
}

#[tokio::test]
async fn machines_and_what_runs_in_them_live_on_without_a_daemon() {
    let mut daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    let mut last = witness::start(&dev).await;
    dev.checkpoint("pre").await.expect("a checkpoint is taken");
    let copy = Guest::resume(daemon.client(), "pre", "copy")
        .await
        .expect("it resumes");
    let mut copy_last = witness::ask(&copy).await;
    let before = (lasting(dev.view().await), lasting(copy.view().await));
    let boot_id = dev.boot_id().await;
    let running = machines(&daemon).await;
    assert_eq!(running.len(), 2);
    let client = daemon.client();
    let (_input, mut output) = client
        .exec_start("dev", &counting::command())
        .await
        .expect("the command starts");
    assert!(matches!(output.next().await, Ok(ExecStep::Stdout(_))));
    let mut count = counting::goes_on_from(&dev, 0).await;

    // Again and again: what was adopted can be adopted once more.
    for killed in [true, true, false, false] {
        if killed {
            daemon.kill().await;
        } else {
            let status = daemon.stop().await;
            assert!(status.success(), "{status}");
        }
        assert_eq!(machines(&daemon).await, running, "killed: {killed}");
        daemon.serve(&[]).await;
        assert_eq!(machines(&daemon).await, running, "killed: {killed}");
        assert_eq!(
            (lasting(dev.view().await), lasting(copy.view().await)),
            before,
            "killed: {killed}"
        );
        let now = witness::ask(&dev).await;
        now.assert_follows(&last);
        last = now;
        let now = witness::ask(&copy).await;
        now.assert_follows(&copy_last);
        copy_last = now;
        assert_eq!(dev.boot_id().await, boot_id);
        // The command whose client is gone with the daemon runs on.
        count = counting::goes_on_from(&dev, count).await;
    }
    // The client of the first daemon was told that its connection broke.
    let error = loop {
        match output.next().await {
            Ok(ExecStep::Stdout(_)) => {}
            Ok(other) => panic!("unexpected: {other:?}"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, Error::ExecBroken { .. } | Error::Exec { .. }),
        "{error:?}"
    );

    // What was adopted can do all the rest.
    dev.checkpoint("later")
        .await
        .expect("a checkpoint is taken");
    client.sandbox_stop("dev").await.expect("it stops");
    witness::ask(&dev).await.assert_follows(&last);
    client
        .sandbox_destroy("copy")
        .await
        .expect("it is destroyed");
    assert_eq!(daemon.inventory().await.machines, [before.0.id]);
}

#[tokio::test]
async fn a_machine_that_ends_by_itself_is_shown_with_a_reason_and_boots_from_its_disk() {
    let mut daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    let sandbox = dev.view().await;
    let mut boot_ids = vec![dev.boot_id().await];
    let machine_id = dev.identity().await.machine_id;
    let mut marks = String::new();
    for way in ["killed", "killed-unseen", "powered-off"] {
        dev.sh(&format!(
            "echo {way} >> /var/tmp/marks; echo {way} > /dev/shm/mark"
        ))
        .await;
        marks.push_str(way);
        marks.push('\n');
        match way {
            "killed" => {
                dev.sh("sync").await;
                let client = daemon.client();
                let sleep = as_root(&["sleep", "1000"]);
                let waiting = async { client.exec("dev", &sleep).await };
                let (result, ()) = tokio::join!(waiting, async {
                    wait_for("the command", START_LIMIT, async || {
                        let found = dev.try_sh("pgrep -x sleep").await;
                        match found {
                            Ok(result) if result.exit_code == 0 => Ok(()),
                            other => Err(other),
                        }
                    })
                    .await;
                    kill_machine(&daemon, &sandbox).await;
                });
                let error = result.expect_err("its machine is gone");
                assert!(
                    matches!(error, Error::Refused(_) | Error::Exec { .. }),
                    "{error:?}"
                );
            }
            "killed-unseen" => {
                dev.sh("sync").await;
                daemon.kill().await;
                kill_machine(&daemon, &sandbox).await;
                daemon.serve(&[]).await;
            }
            _ => {
                // Unsynced: a guest that powers itself off in order writes all to its disk. The
                // command may or may not see its own end before the link's.
                let _ = dev.try_sh("kill -s PWR 1; sleep 1000").await;
            }
        }
        let view = ended(&dev).await;
        assert_eq!(view.thermal, "off", "{way}: {view:?}");
        let reason = view.reason.clone().unwrap_or_default();
        assert!(
            !reason.is_empty() && !reason.contains('/'),
            "{way}: {view:?}"
        );
        let shown = daemon.cli(&["inspect", "dev"]).await.success();
        assert!(shown.contains(&reason), "{way}: {shown}");
        assert_eq!(machines(&daemon).await, BTreeMap::new(), "{way}");

        // The next command boots it.
        assert_eq!(
            dev.sh("cat /var/tmp/marks").await,
            marks.trim_end(),
            "{way}"
        );
        dev.sh("test ! -e /dev/shm/mark").await;
        let view = dev.view().await;
        assert_eq!(
            (view.status.as_str(), view.thermal.as_str()),
            ("running", "hot"),
            "{way}"
        );
        let identity = dev.identity().await;
        assert_eq!(
            (identity.hostname.as_str(), &identity.machine_id),
            ("dev", &machine_id)
        );
        assert!(!boot_ids.contains(&identity.boot_id), "{way}");
        boot_ids.push(identity.boot_id);
        dev.check_clock().await;
    }
}

#[tokio::test]
async fn two_daemons_do_not_touch_each_others_machines_and_one_directory_has_one_daemon() {
    let (mut one, mut two) = tokio::join!(Daemon::start(), Daemon::start());
    let (dev, other) = tokio::join!(
        Guest::create(one.client(), "dev"),
        Guest::create(two.client(), "dev")
    );
    let of_one = machines(&one).await;
    let of_two = machines(&two).await;
    assert_eq!((of_one.len(), of_two.len()), (1, 1));
    assert_ne!(
        dev.identity().await.machine_id,
        other.identity().await.machine_id
    );

    let second = one
        .cli(&["serve", "--listen", "", "--accelerator", "tcg"])
        .await;
    assert_eq!(second.code, Some(1), "{second:?}");
    let told = second.errors();
    assert!(told.contains("error: "), "{told}");
    assert!(told.contains("already running"), "{told}");
    assert_eq!(machines(&one).await, of_one);
    dev.sh("true").await;

    one.kill().await;
    one.serve(&[]).await;
    two.stop().await;
    two.serve(&[]).await;
    assert_eq!(
        (machines(&one).await, machines(&two).await),
        (of_one.clone(), of_two)
    );
    dev.sh("true").await;
    other.sh("true").await;
    two.client()
        .sandbox_destroy("dev")
        .await
        .expect("it is destroyed");
    assert_eq!(machines(&two).await, BTreeMap::new());
    // Machines that nobody knows any more end with the next daemon: only one's own.
    two.kill().await;
    two.serve(&[]).await;
    assert_eq!(machines(&one).await, of_one);
    dev.sh("true").await;
}
