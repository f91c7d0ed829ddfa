//! Volumes of machines that are captured, copied, put back and put to sleep.

use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

use crate::host::{check, create, make, read_only, refusal, wanted};

/// A line that goes on writing, and holds a file of the volume open.
const WRITE_ON: &str = "(exec 3>> /data/log; n=0; while true; do n=$((n+1)); echo $n >&3; \
                        sleep 0.2 3>&-; done) > /dev/null 2>&1 & echo $! > /run/writer";
/// Ends it.
const WRITE_NO_MORE: &str = "kill $(cat /run/writer); while kill -0 $(cat /run/writer) \
                             2>/dev/null; do sleep 0.05; done";

async fn writes(guest: &Guest) {
    let before = guest.sh("wc -l < /data/log").await;
    guest
        .sh(&format!(
            "for i in $(seq 100); do test $(wc -l < /data/log) -gt {before} && exit 0; sleep 0.1; \
             done; exit 1"
        ))
        .await;
}

#[tokio::test]
async fn copies_go_on_with_volumes_of_their_own_and_share_what_they_only_read() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    make(&daemon, "data", 128).await;
    make(&daemon, "tools", 64).await;
    let maker = create(&daemon, "maker", vec![wanted("tools", "/t")]).await;
    maker.sh("echo tool > /t/tool").await;
    client.sandbox_destroy("maker").await.expect("it goes");
    let both = vec![wanted("data", "/data"), read_only("tools", "/tools")];
    let dev = create(&daemon, "dev", both).await;
    dev.sh("echo captured > /data/state; sync").await;
    dev.sh(WRITE_ON).await;
    dev.checkpoint("pre").await.expect("a checkpoint is taken");
    dev.sh("echo later > /data/state; sync").await;

    let copy = Guest::resume(daemon.client(), "pre", "copy").await;
    let copy = copy.expect("it goes on");
    assert_eq!(
        copy.sh("cat /data/state /tools/tool").await,
        "captured\ntool"
    );
    writes(&copy).await;
    copy.sh("echo own > /data/state; sync; echo 3 > /proc/sys/vm/drop_caches")
        .await;
    assert_eq!(dev.sh("cat /data/state").await, "later");
    assert_eq!(copy.sh("cat /data/state").await, "own");
    writes(&dev).await;
    let volumes = client.volume_list().await.expect("a list");
    let names: Vec<_> = volumes.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["data", "data-copy", "tools"]);
    assert!(volumes[1].attachments[0].owned);
    assert_eq!(volumes[2].attachments.len(), 2);

    let forked = client
        .sandbox_fork("dev", &bhatti_api::sandbox::ForkSandbox::default())
        .await
        .expect("it is forked");
    let fork = Guest::new(daemon.client(), &forked[0].name);
    assert_eq!(fork.sh("cat /data/state").await, "later");
    writes(&fork).await;
    fork.sh("echo fork > /data/state; sync").await;

    // The copy's own volume goes with it, unless it is taken from it before.
    let own = client
        .volume_get("data-dev-fork")
        .await
        .expect("it is there");
    fork.sh(WRITE_NO_MORE).await;
    let detached = client.volume_detach("data-dev-fork", "dev-fork").await;
    detached.expect("it is detached");
    check(&daemon, &own).await;
    for name in ["dev-fork", "copy"] {
        client.sandbox_destroy(name).await.expect("it goes");
    }
    let volumes = client.volume_list().await.expect("a list");
    let names: Vec<_> = volumes.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["data", "data-dev-fork", "tools"]);

    // What was only read has been written to since: a copy gets what it was then.
    client
        .volume_detach("tools", "dev")
        .await
        .expect("it is detached");
    let maker = create(&daemon, "maker", vec![wanted("tools", "/t")]).await;
    maker.sh("echo new > /t/tool; sync").await;
    let copy = Guest::resume(daemon.client(), "pre", "copy").await;
    let copy = copy.expect("it goes on");
    copy.sh("echo 3 > /proc/sys/vm/drop_caches").await;
    assert_eq!(copy.sh("cat /tools/tool").await, "tool");
    assert!(client.volume_get("tools-copy").await.is_ok());
}

#[tokio::test]
async fn a_rollback_puts_volumes_back_and_keeps_what_they_were() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let data = make(&daemon, "data", 128).await;
    let dev = create(&daemon, "dev", vec![wanted("data", "/data")]).await;
    dev.sh("echo before > /data/state; sync").await;
    dev.sh(WRITE_ON).await;
    dev.checkpoint("pre").await.expect("a checkpoint is taken");
    dev.sh("echo after > /data/state; sync").await;
    client.volume_resize("data", 200).await.expect("it grows");
    let rollback = |to: &str| bhatti_api::sandbox::RollbackSandbox {
        to: to.to_owned(),
        force: false,
    };
    let back = client.sandbox_rollback("dev", &rollback("pre")).await;
    let kept = back.expect("it is put back").kept_as.expect("it is kept");
    let state = "echo 3 > /proc/sys/vm/drop_caches; cat /data/state";
    assert_eq!(dev.sh(state).await, "before");
    writes(&dev).await;
    let forth = client.sandbox_rollback("dev", &rollback(&kept)).await;
    forth.expect("and forth");
    assert_eq!(dev.sh(state).await, "after");
    writes(&dev).await;

    dev.sh(WRITE_NO_MORE).await;
    client
        .volume_detach("data", "dev")
        .await
        .expect("it is detached");
    check(&daemon, &data).await;
    let refused = client.sandbox_rollback("dev", &rollback("pre")).await;
    let (status, said) = refusal(refused);
    assert_eq!(status, 409);
    assert!(said.contains("volumes"), "{said}");
    assert_eq!(dev.view().await.thermal, "hot");
}

#[tokio::test]
async fn a_sleeping_machine_keeps_its_volume_to_itself_and_wakes_with_it() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let data = make(&daemon, "data", 128).await;
    let dev = create(&daemon, "dev", vec![wanted("data", "/data")]).await;
    dev.sh(WRITE_ON).await;
    for _ in 0..2 {
        client.sandbox_stop("dev").await.expect("it sleeps");
        let other =
            crate::host::try_create(daemon.client(), "other", vec![read_only("data", "/data")]);
        assert_eq!(refusal(other.await.map(drop)).0, 409);
        writes(&dev).await;
    }
    // Copied while its machine sleeps, without waking it.
    dev.sh("echo slept > /data/state").await;
    client.sandbox_stop("dev").await.expect("it sleeps");
    client
        .volume_clone("data", "copy")
        .await
        .expect("it is cloned");
    assert_eq!(dev.view().await.thermal, "cold");
    let other = create(&daemon, "other", vec![wanted("copy", "/copy")]).await;
    assert_eq!(other.sh("cat /copy/state").await, "slept");

    // Taken from a sleeping machine, which is woken for it.
    client.sandbox_stop("dev").await.expect("it sleeps");
    let refused = client.volume_detach("data", "dev").await;
    assert_eq!(refusal(refused).0, 409);
    dev.sh(WRITE_NO_MORE).await;
    client.sandbox_stop("dev").await.expect("it sleeps");
    client
        .volume_detach("data", "dev")
        .await
        .expect("it is detached");
    check(&daemon, &data).await;
    client.sandbox_stop("dev").await.expect("it sleeps");
    assert_eq!(dev.sh("ls /data").await, "");
}
