//! Volumes of machines whose daemon or VMM is killed.

use bhatti_testing::daemon::Daemon;

use crate::host::{attach, check, create, make, refusal, try_create, wanted};

#[tokio::test]
async fn an_adopted_machine_keeps_its_volumes_and_the_records_agree() {
    let mut daemon = Daemon::start().await;
    let data = make(&daemon, "data", 128).await;
    make(&daemon, "late", 64).await;
    let dev = create(&daemon, "dev", vec![wanted("data", "/data")]).await;
    dev.sh(
        "echo kept > /data/state; sync; (exec 3>>/data/log; while true; do date >&3; sleep 0.1; done) \
            > /dev/null 2>&1 &",
    )
    .await;
    daemon.kill().await;
    daemon.serve(&[]).await;
    let view = dev.view().await;
    assert_eq!(view.thermal, "hot");
    assert_eq!(view.volumes.len(), 1);
    assert_eq!(dev.sh("cat /data/state").await, "kept");
    let client = daemon.client();
    let other = try_create(daemon.client(), "other", vec![wanted("data", "/data")]).await;
    assert_eq!(refusal(other.map(drop)).0, 409);
    attach(&dev, "late", "/late").await.expect("it is attached");
    dev.sh("touch /late/x; sync").await;

    // Its VMM is killed: the disk is as after a power cut, and put right before it is used.
    let machine = daemon.machines().await.remove(0);
    let pid = rustix::process::Pid::from_raw(machine.process.pid as i32).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is killed");
    bhatti_testing::wait::wait_for(
        "its end to be seen",
        std::time::Duration::from_secs(30),
        async || {
            let view = dev.view().await;
            if view.status == "stopped" {
                Ok(())
            } else {
                Err(view)
            }
        },
    )
    .await;
    let started = client
        .sandbox_start("dev", &bhatti_api::sandbox::StartSandbox::default())
        .await;
    assert_eq!(started.expect("it boots").reason, None);
    assert_eq!(dev.sh("cat /data/state; ls /late/x").await, "kept\n/late/x");
    client
        .volume_detach("data", "dev")
        .await
        .expect("it is detached");
    check(&daemon, &data).await;
    assert_eq!(
        daemon.client().volume_list().await.expect("a list").len(),
        2
    );
}
