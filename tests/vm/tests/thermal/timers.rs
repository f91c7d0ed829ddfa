//! A machine that sleeps and is woken because something in it wants to run.

use std::time::Duration;

use bhatti_api::sandbox::CreateSandbox;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::wait::wait_for;
use jiff::{SignedDuration, Timestamp};

use crate::is;

/// How long before its moment a guest is woken.
const MARGIN: SignedDuration = SignedDuration::from_secs(75);
/// Time for the guest's moment, less the margin, to come.
const LIMIT: Duration = Duration::from_mins(3);

#[tokio::test]
async fn a_machine_on_disk_is_woken_for_a_timer_of_its_guest_and_left_awake_for_it() {
    let daemon = Daemon::start().await;
    let new = CreateSandbox {
        name: Some("dev".to_owned()),
        memory_mb: Some(256),
        idle_pause: Some("never".to_owned()),
        idle_cold: Some("200ms".to_owned()),
        wake_timers: Some(true),
        ..CreateSandbox::default()
    };
    let made = daemon.client().sandbox_create(&new).await;
    made.expect("a sandbox is made");
    let dev = Guest::new(daemon.client(), "dev");
    // What counts is that a process of that name runs, and what it would run.
    dev.sh("cp /bin/sleep /usr/local/sbin/atd && (nohup atd 100000 >/dev/null 2>&1 &)")
        .await;
    // Jobs of `at` are named by the minute.
    let minute = Timestamp::now().as_second() / 60 + 3;
    dev.sh(&format!(
        "mkdir -p /var/spool/cron/atjobs && cd /var/spool/cron/atjobs && \
         touch a00001{minute:08x} && chmod 700 a00001{minute:08x}; touch /dev/shm/here"
    ))
    .await;
    let paused = daemon.cli(&["pause", "dev"]).await;
    assert_eq!(paused.success(), "sandbox/dev paused\n");
    let cold = is(&dev, "cold").await;
    let wake_at = cold.idle.and_then(|idle| idle.wake_at).expect("it is told");
    let wake_at: Timestamp = wake_at.parse().expect("it is a time");
    let due = Timestamp::from_second(minute * 60).expect("it is a time");
    assert_eq!(due - MARGIN, wake_at);
    let shown = daemon.cli(&["inspect", "dev"]).await;
    assert!(shown.text().contains("for a timer"), "{shown:?}");

    // Nobody asks anything of it.
    wait_for("the guest's moment", LIMIT, async || {
        let now = dev.view().await;
        if now.thermal == "hot" {
            Ok(())
        } else {
            Err(now)
        }
    })
    .await;
    assert!(Timestamp::now() >= wake_at);
    dev.sh("test -e /dev/shm/here").await;
    assert_eq!(dev.view().await.thermal, "hot");
}
