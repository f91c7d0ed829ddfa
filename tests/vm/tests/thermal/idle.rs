//! From hot to warm to cold, and what keeps a machine from it.

use bhatti_api::idle::{EditSandbox, EditUser, SleepAll};
use bhatti_api::user::CreateUser;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::witness;

use crate::{create, is};

#[tokio::test]
async fn an_idle_machine_is_paused_then_put_to_disk_and_any_command_wakes_it() {
    let mut daemon = Daemon::start().await;
    let dev = create(&daemon, "dev", "400ms", "30m").await;
    let captured = witness::start(&dev).await;
    let before = dev.identity().await;

    let warm = is(&dev, "warm").await;
    assert_eq!(warm.status, "running");
    let idle = warm.idle.expect("one sandbox's answer tells of its idling");
    assert_eq!(
        (idle.leases.as_slice(), idle.next.as_str()),
        (&[][..], "sleep")
    );
    assert_eq!(
        (idle.idle_pause.as_str(), idle.idle_cold.as_str()),
        ("400ms", "30m")
    );
    assert_eq!(daemon.machines().await.len(), 1, "its memory is kept");
    let now = witness::ask(&dev).await;
    now.assert_follows(&captured);
    dev.check_clock().await;
    let after = dev.identity().await;
    assert_eq!(
        (after.boot_id, after.machine_id),
        (before.boot_id, before.machine_id)
    );

    // A daemon that comes up finds it as it was.
    is(&dev, "warm").await;
    daemon.kill().await;
    daemon.serve(&[]).await;
    assert_eq!(dev.view().await.thermal, "warm");
    let again = witness::ask(&dev).await;
    again.assert_follows(&now);
    dev.check_clock().await;

    let edit = EditSandbox {
        idle_cold: Some("300ms".to_owned()),
        ..EditSandbox::default()
    };
    daemon
        .client()
        .sandbox_edit("dev", &edit)
        .await
        .expect("it is changed");
    let cold = is(&dev, "cold").await;
    assert_eq!((cold.status.as_str(), cold.reason), ("stopped", None));
    assert_eq!(daemon.machines().await, [], "its memory is freed");
    let idle = cold.idle.expect("one sandbox's answer tells of its idling");
    assert_eq!(idle.because.as_deref(), Some("not awake"));
    witness::ask(&dev).await.assert_follows(&again);
    dev.check_clock().await;
}

#[tokio::test]
async fn what_is_in_use_or_kept_hot_is_not_paused_and_says_why() {
    let daemon = Daemon::start().await;
    let dev = create(&daemon, "dev", "300ms", "300ms").await;
    let busy = create(&daemon, "busy", "300ms", "never").await;

    // The command is longer than both times together, for it waits to be told.
    let wait = "until test -e /dev/shm/go; do sleep 0.1; done; echo done";
    let (ran, told) = tokio::join!(dev.try_sh(wait), async {
        is(&dev, "hot").await;
        is(&busy, "warm").await;
        let shown = dev.view().await;
        dev.sh("touch /dev/shm/go").await;
        (shown.thermal, shown.idle.expect("it is told"))
    });
    assert_eq!(ran.expect("it runs").stdout, "done\n");
    let (thermal, idle) = told;
    assert_eq!((thermal.as_str(), idle.next.as_str()), ("hot", "nothing"));
    assert_eq!(idle.because.as_deref(), Some("in use"));
    assert!(
        idle.leases[0].what.starts_with("exec "),
        "{:?}",
        idle.leases
    );
    let shown = daemon.cli(&["inspect", "busy"]).await;
    assert!(shown.text().contains("its idle time is never"), "{shown:?}");
    is(&dev, "cold").await;

    // A change wakes what is to be kept hot, at once.
    let keep = EditSandbox {
        keep_hot: Some(true),
        ..EditSandbox::default()
    };
    let kept = daemon.client().sandbox_edit("dev", &keep).await;
    let kept = kept.expect("it is changed and woken");
    assert_eq!((kept.thermal.as_str(), kept.keep_hot), ("hot", true));
    // The other one is paused again after a command; this one would have been long before.
    busy.sh("true").await;
    is(&busy, "warm").await;
    let kept = dev.view().await;
    assert_eq!(kept.thermal, "hot");
    let idle = kept.idle.expect("it is told");
    assert_eq!(idle.because.as_deref(), Some("kept hot"));

    // Guest CPU alone keeps nothing awake unless that is set.
    let work = "nohup sh -c 'while :; do :; done' >/dev/null 2>&1 & echo $!";
    let worker = busy.sh(work).await;
    is(&busy, "warm").await;
    let count_work = EditSandbox {
        busy_cpu: Some(30),
        ..EditSandbox::default()
    };
    daemon
        .client()
        .sandbox_edit("busy", &count_work)
        .await
        .expect("it is changed");
    assert_eq!(busy.sh("echo awake").await, "awake");
    // Longer than its pause and the time it is watched for together.
    dev.sh("sleep 4").await;
    assert_eq!(busy.view().await.thermal, "hot");
    busy.sh(&format!("kill {worker}")).await;
    is(&busy, "warm").await;
}

#[tokio::test]
async fn times_are_set_for_a_user_and_all_machines_sleep_before_the_host_goes_down() {
    let mut daemon = Daemon::start().await;
    let client = daemon.client();
    let alice = CreateUser {
        name: "alice".to_owned(),
        max_sandboxes: None,
        max_cpus_per_sandbox: None,
        max_memory_mb_per_sandbox: None,
        max_snapshots: None,
        max_images: None,
        max_volume_mb: None,
    };
    client.user_create(&alice).await.expect("a user is made");
    let edit = EditUser {
        idle_pause: Some("500ms".to_owned()),
        ..EditUser::default()
    };
    client
        .user_edit("alice", &edit)
        .await
        .expect("it is changed");
    // The local user's machines take the times of the local user.
    client
        .user_edit("local", &edit)
        .await
        .expect("it is changed");
    let dev = create(&daemon, "dev", "default", "default").await;
    let kept = create(&daemon, "kept", "never", "never").await;
    is(&dev, "warm").await;
    kept.sh("echo here > /dev/shm/word").await;
    let keep = EditSandbox {
        keep_hot: Some(true),
        ..EditSandbox::default()
    };
    client
        .sandbox_edit("kept", &keep)
        .await
        .expect("it is changed");

    let going_down = SleepAll {
        limit_sec: Some(60),
        going_down: true,
    };
    let slept = client.sleep_all(&going_down).await.expect("they sleep");
    assert_eq!((slept.asleep, slept.awake.as_slice()), (2, &[][..]));
    assert_eq!(daemon.machines().await, []);
    let refused = dev.try_sh("true").await.expect_err("nothing is woken");
    assert!(refused.to_string().contains("going down"), "{refused}");
    // The next daemon wakes what is to be kept hot, and nothing else.
    daemon.stop().await;
    daemon.serve(&[]).await;
    is(&kept, "hot").await;
    assert_eq!(kept.sh("cat /dev/shm/word").await, "here");
    assert_eq!(dev.view().await.thermal, "cold");
    dev.sh("true").await;
}

#[tokio::test]
async fn pausing_by_hand_and_renaming_do_what_they_say() {
    let daemon = Daemon::start().await;
    let dev = create(&daemon, "dev", "never", "never").await;
    let paused = daemon.cli(&["pause", "dev"]).await;
    assert_eq!(paused.text(), "sandbox/dev paused\n");
    assert_eq!(dev.view().await.thermal, "warm");
    let woken = daemon.cli(&["wake", "dev"]).await;
    assert_eq!(woken.text(), "sandbox/dev started\n", "{woken:?}");
    assert_eq!(dev.view().await.thermal, "hot");
    daemon.cli(&["pause", "dev"]).await.success();
    // A paused one can be checkpointed, and stays paused.
    dev.checkpoint("paused").await.expect("it is captured");
    assert_eq!(dev.view().await.thermal, "warm");
    let asleep = daemon.cli(&["sleep", "dev"]).await;
    assert_eq!(asleep.text(), "sandbox/dev asleep\n", "{asleep:?}");

    let renamed = daemon
        .cli(&["edit", "dev", "--name", "new", "--label", "a=b"])
        .await;
    assert!(renamed.text().contains("now new"), "{renamed:?}");
    let gone = daemon.cli(&["inspect", "dev"]).await;
    assert_eq!(gone.code, Some(1), "{gone:?}");
    let ran = daemon.cli(&["exec", "new", "--", "hostname"]).await;
    assert_eq!(ran.text(), "new\n", "it has its new name when it wakes");
    create(&daemon, "dev", "never", "never").await;
    let third = daemon.cli(&["edit", "new", "--name", "third"]).await;
    assert_eq!(third.text(), "sandbox/new changed, now third\n");
    let ran = daemon.cli(&["exec", "third", "--", "hostname"]).await;
    assert_eq!(ran.text(), "third\n", "a hot one has it at once");
    let taken = daemon.cli(&["edit", "third", "--name", "dev"]).await;
    assert!(taken.errors().contains("already exists"), "{taken:?}");
    let listed = daemon.cli(&["list", "--label", "a=b", "--json"]).await;
    assert!(listed.text().contains("\"third\""), "{listed:?}");
}
