//! A host whose memory is short: who goes to disk for others, who is refused, and who waits.

use bhatti_api::sandbox::CreateSandbox;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::wait::wait_for;
use bhatti_testing::witness;

use crate::{LIMIT, create, is};

/// Room for two machines of 256 MB, and not for three.
const CONFIG: &str = "memory_limit_mb: 700\n";
/// A command that ends when it is told to.
const BUSY: &str = "until test -e /dev/shm/go; do sleep 0.1; done; rm /dev/shm/go; echo done";

/// Waits until somebody uses it.
async fn is_used(guest: &Guest) {
    wait_for("it to be in use", LIMIT, async || {
        let idle = guest.view().await.idle.expect("it is told");
        if idle.leases.is_empty() {
            Err(idle)
        } else {
            Ok(())
        }
    })
    .await;
}

/// So many requests have waited for room, by the daemon's log.
async fn have_waited(daemon: &Daemon, times: usize) {
    wait_for("a request that waits", LIMIT, async || {
        let log = fs_err::read_to_string(daemon.log()).expect("the log is there");
        match log.matches("no room for a machine yet").count() {
            seen if seen >= times => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
}

#[tokio::test]
async fn idle_machines_make_room_and_who_finds_none_is_refused_or_waits() {
    let mut daemon = Daemon::prepare();
    bhatti_testing::artifacts::install(&daemon.data_dir());
    bhatti_testing::templates::seed(&daemon.data_dir()).await;
    let config = daemon.home().join(".bhatti");
    fs_err::create_dir(&config).expect("a directory can be made");
    fs_err::write(config.join("config.yaml"), CONFIG).expect("it is written");
    daemon.serve(&[]).await;
    let one = create(&daemon, "one", "never", "never").await;
    let remembered = witness::start(&one).await;
    let two = create(&daemon, "two", "never", "never").await;
    two.sh("true").await;

    // Nobody uses either; the one that was not used for longest makes room.
    let three = create(&daemon, "three", "never", "never").await;
    let cold = one.view().await;
    assert_eq!((cold.thermal.as_str(), cold.reason), ("cold", None));
    assert_eq!(two.view().await.thermal, "hot");
    assert_eq!(daemon.machines().await.len(), 2);

    // Both are in use.
    let (ran_two, ran_three, ()) = tokio::join!(two.try_sh(BUSY), three.try_sh(BUSY), async {
        is_used(&two).await;
        is_used(&three).await;
        let before = daemon.inventory().await;
        let new = CreateSandbox {
            name: Some("four".to_owned()),
            memory_mb: Some(256),
            ..CreateSandbox::default()
        };
        let refused = daemon.client().sandbox_create(&new).await;
        let refused = refused.expect_err("there is no room");
        assert_eq!(refused.status().map(|status| status.as_u16()), Some(503));
        let refused = daemon
            .cli(&["create", "--name", "four", "--memory", "256"])
            .await;
        let said = refused.errors();
        assert_eq!(refused.code, Some(1), "{said}");
        assert!(said.contains("no room"), "{said}");
        let refused = daemon.cli(&["start", "one"]).await;
        assert_eq!(refused.code, Some(1), "{}", refused.errors());
        assert!(refused.errors().contains("no room"), "{refused:?}");
        assert_eq!(daemon.inventory().await, before);

        // Who waits is served as soon as somebody is done, and not before.
        let start = async { daemon.cli(&["start", "one", "--wait", "5m"]).await };
        let make_room = async {
            have_waited(&daemon, 1).await;
            assert_eq!(one.view().await.thermal, "cold");
            two.sh("touch /dev/shm/go").await;
        };
        let (started, ()) = tokio::join!(start, make_room);
        started.success();
        is(&two, "cold").await;
        let again = witness::ask(&one).await;
        again.assert_follows(&remembered);

        let (ran, ()) = tokio::join!(one.try_sh(BUSY), async {
            is_used(&one).await;
            let new = [
                "create", "--name", "four", "--memory", "256", "--wait", "5m",
            ];
            let (created, ()) = tokio::join!(daemon.cli(&new), async {
                have_waited(&daemon, 2).await;
                one.sh("touch /dev/shm/go").await;
            });
            created.success();
        });
        assert_eq!(ran.expect("it runs").stdout, "done\n");
        is(&one, "cold").await;
        three.sh("touch /dev/shm/go").await;
    });
    assert_eq!(ran_two.expect("it runs").stdout, "done\n");
    assert_eq!(ran_three.expect("it runs").stdout, "done\n");
}
