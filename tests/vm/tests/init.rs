//! Machines that are brought up by their image's systemd.

use std::time::Duration;

use bhatti_testing::artifacts;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::{Guest, assert_each_is_its_own};
use bhatti_testing::wait::wait_for;

/// Time for systemd to bring a small system up under software emulation, beside other tests.
const UP_LIMIT: Duration = Duration::from_mins(3);

/// Waits until systemd says that all is well.
async fn is_up(guest: &Guest) {
    wait_for("systemd to be content", UP_LIMIT, async || {
        let told = guest
            .try_sh("systemctl is-system-running; systemctl --failed --no-legend")
            .await;
        let told = told.map(|result| result.stdout);
        match told {
            Ok(told) if told.trim() == "running" => Ok(()),
            other => Err(other.map_err(|error| error.to_string())),
        }
    })
    .await;
}

#[tokio::test]
async fn systemd_brings_the_machine_up_and_stays_well_through_copies_sleep_and_a_power_off() {
    let mut daemon = Daemon::prepare();
    artifacts::install(&daemon.data_dir());
    artifacts::install_image(&daemon.data_dir(), "systemd");
    daemon.serve(&[]).await;
    let create = [
        "create", "--name", "one", "--image", "systemd", "--memory", "384",
    ];
    daemon.cli(&create).await.success();
    let one = Guest::new(daemon.client(), "one");
    assert_eq!(one.view().await.init.as_deref(), Some("systemd"));
    // It goes on from a template that has come up.
    assert_eq!(one.sh("systemctl is-system-running").await, "running");
    assert_eq!(one.sh("cat /proc/1/comm").await, "systemd");
    assert_eq!(
        one.sh("systemctl is-active lohar multi-user.target cron")
            .await,
        "active\nactive\nactive"
    );
    // What the image starts is started, and what would fight with bhatti is not.
    assert_eq!(one.sh("cat /run/hello").await, "started by systemd");
    assert_eq!(
        one.sh("systemctl is-enabled serial-getty@ttyS0 || true")
            .await,
        "masked-runtime"
    );
    // Commands are not protected as the agent is.
    assert_eq!(one.sh("cat /proc/self/oom_score_adj").await, "0");
    assert_eq!(
        one.sh("hostname; cat /etc/hostname; hostnamectl hostname")
            .await,
        "one\none\none"
    );

    // Copies are machines of their own.
    one.checkpoint("point")
        .await
        .expect("a checkpoint is taken");
    daemon
        .cli(&["fork", "one", "--name", "two"])
        .await
        .success();
    let two = Guest::new(daemon.client(), "two");
    let random = "head -c 8 /dev/urandom | od -An -tx1";
    let (first, second) = (one.sh(random).await, two.sh(random).await);
    assert_each_is_its_own(&[one.clone(), two.clone()], &[&first, &second]).await;
    is_up(&two).await;
    two.sh("systemd-run --wait --quiet sh -c 'echo ran > /run/ran'; test -e /run/ran")
        .await;
    daemon.cli(&["destroy", "-y", "two"]).await.success();

    // A sleep.
    daemon.cli(&["stop", "one"]).await.success();
    daemon.cli(&["start", "one"]).await.success();
    is_up(&one).await;
    one.check_clock().await;

    // Switched off in good order from inside; the next start boots, and all is well again.
    let boot = one.boot_id().await;
    one.try_sh("echo kept > /root/kept; systemctl poweroff")
        .await
        .ok();
    wait_for("the machine to be off", UP_LIMIT, async || {
        let view = one.view().await;
        if view.thermal == "off" {
            Ok(())
        } else {
            Err(view)
        }
    })
    .await;
    daemon.cli(&["start", "one"]).await.success();
    is_up(&one).await;
    assert_ne!(one.boot_id().await, boot);
    assert_eq!(one.sh("cat /root/kept").await, "kept");
}

#[tokio::test]
async fn an_image_without_systemd_is_refused_one_and_the_agent_can_be_init_of_one_that_has_it() {
    let mut daemon = Daemon::prepare();
    artifacts::install(&daemon.data_dir());
    artifacts::install_image(&daemon.data_dir(), "systemd");
    daemon.serve(&[]).await;
    let create = [
        "create", "--name", "odd", "--memory", "256", "--init", "systemd",
    ];
    let refused = daemon.cli(&create).await;
    assert!(
        refused.errors().contains("image base has no systemd"),
        "{}",
        refused.errors()
    );
    assert!(daemon.machines().await.is_empty());

    let create = [
        "create", "--name", "own", "--image", "systemd", "--memory", "256", "--init", "lohar",
    ];
    daemon.cli(&create).await.success();
    let own = Guest::new(daemon.client(), "own");
    assert_eq!(own.sh("cat /proc/1/comm").await, "init");
    assert!(own.view().await.init.is_none());
}
