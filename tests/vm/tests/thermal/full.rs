//! A guest that writes to a disk for which the host has no room: its VMM stops it there.

use bhatti_testing::daemon::Daemon;
use bhatti_testing::wait::wait_for;
use bhatti_testing::witness;

use crate::broken::fail;
use crate::{LIMIT, create, is};

/// How QEMU writes to a disk.
const WRITES: &str = "pwrite64,pwritev,pwritev2,fallocate";

#[tokio::test]
async fn a_guest_that_the_host_has_no_room_for_stands_still_says_why_and_goes_on() {
    let daemon = Daemon::start().await;
    let dev = create(&daemon, "dev", "never", "never").await;
    let before = witness::start(&dev).await;
    let machines = daemon.machines().await;
    let pid = machines[0].process.pid;

    let tracing = fail(pid, WRITES, "ENOSPC").await;
    let write =
        "dd if=/dev/zero of=/var/tmp/big bs=64k count=32 conv=fsync 2>/dev/null && echo done";
    let (written, ()) = tokio::join!(dev.try_sh(write), async {
        // Nobody asks for it: it is seen when it happens.
        let shown = is(&dev, "warm").await;
        let reason = shown.reason.unwrap_or_default();
        assert!(reason.contains("no room"), "{reason}");
        let inspected = daemon.cli(&["inspect", "dev"]).await.success();
        assert!(inspected.contains("no room"), "{inspected}");
        drop(tracing);
        wait_for("the command to go on", LIMIT, async || {
            match dev.view().await.thermal.as_str() {
                "hot" => Ok(()),
                other => Err(other.to_owned()),
            }
        })
        .await;
    });
    // The command had only to wait.
    assert_eq!(written.expect("it runs").stdout, "done\n");
    let now = dev.view().await;
    assert_eq!((now.thermal.as_str(), now.reason), ("hot", None));
    witness::ask(&dev).await.assert_follows(&before);
}
