//! Two hundred nights of one machine that writes all the time, with ends of its daemon and its VMM
//! at random moments: nothing that was acknowledged is lost.

use std::time::Duration;

use bhatti_api::exec::ExecRequest;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::{Guest, as_root};

use crate::create;

const JOURNAL: &str = include_str!("journal.py");
/// How often it is put to sleep and woken.
const CYCLES: u32 = 200;

/// Small pseudo-random numbers (xorshift), so that a run can be done again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

/// What of the journal is acknowledged, and what is on disk; every entry is checked.
async fn check(guest: &Guest) -> (u64, u64) {
    let told = guest.sh("python3 /root/journal.py check").await;
    let mut numbers = told.split(' ').map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(acknowledged)), Some(Ok(disk))) => (acknowledged, disk),
        _ => panic!("{told}"),
    }
}

async fn write(guest: &Guest) {
    let request = ExecRequest {
        detach: true,
        timeout_sec: None,
        ..as_root(&["python3", "/root/journal.py"])
    };
    let started = guest.client().exec_detached(guest.name(), &request).await;
    started.expect("the journal is written");
}

#[tokio::test]
async fn two_hundred_nights_with_killed_daemons_and_machines_lose_nothing_acknowledged() {
    let mut daemon = Daemon::start().await;
    let dev = create(&daemon, "dev", "never", "never").await;
    let client = dev.client().clone();
    let lines = JOURNAL.replace('\'', "'\\''");
    dev.sh(&format!("printf %s '{lines}' > /root/journal.py"))
        .await;
    write(&dev).await;
    let mut dice = Dice(0x5eed_0001);
    let (mut acknowledged, mut boots) = (0, 0);
    for cycle in 0..CYCLES {
        let told = format!("cycle {cycle}, {acknowledged} acknowledged, {boots} boots");
        match dice.below(10) {
            // The daemon ends at some moment of the machine's going to sleep or waking.
            0 => {
                let way = dice.below(2);
                let work = async {
                    // It breaks off with the daemon, or is done before.
                    if way == 0 {
                        client.sandbox_stop("dev").await.is_ok()
                    } else {
                        client.sandbox_stop("dev").await.is_ok() && dev.try_sh("true").await.is_ok()
                    }
                };
                let moment = Duration::from_millis(dice.below(500));
                let done = tokio::time::timeout(moment, work).await;
                daemon.kill().await;
                drop(done);
                daemon.serve(&[]).await;
                // Its memory goes on: it was awake, or asleep, or put back to what it was before.
                let now = dev.view().await;
                assert!(
                    now.thermal == "hot" || now.thermal == "cold",
                    "{told}: {now:?}"
                );
            }
            // The VMM ends at some moment: the machine boots from its disk, and says so.
            1 if cycle % 4 == 0 => {
                let moment = Duration::from_millis(dice.below(200));
                let (_, ()) =
                    tokio::join!(tokio::time::timeout(moment, dev.try_sh("sleep 5")), async {
                        tokio::time::sleep(moment).await;
                    });
                for machine in daemon.machines().await {
                    let pid = rustix::process::Pid::from_raw(machine.process.pid as i32);
                    let pid = pid.expect("it has a pid");
                    rustix::process::kill_process(pid, rustix::process::Signal::KILL)
                        .expect("it is ended");
                }
                crate::is(&dev, "off").await;
                let reason = dev.view().await.reason.expect("it says why it is off");
                assert!(reason.contains("ended by itself"), "{told}: {reason}");
                let (_, disk) = check(&dev).await;
                assert!(disk >= acknowledged, "{told}: {disk} on disk");
                let clean = dev.sh("dmesg | grep -ci 'ext4-fs error' || true").await;
                assert_eq!(clean, "0", "{told}");
                boots += 1;
                write(&dev).await;
            }
            _ => {
                let slept = client.sandbox_stop("dev").await;
                let slept = slept.unwrap_or_else(|error| panic!("{told}: {error}"));
                assert_eq!(slept.thermal, "cold", "{told}");
            }
        }
        let (now, disk) = check(&dev).await;
        if now > 0 {
            assert!(now >= acknowledged, "{told}: {now} now");
            acknowledged = now;
        }
        assert!(disk >= acknowledged, "{told}: {disk} on disk");
        assert_eq!(daemon.machines().await.len(), 1, "{told}");
    }
    dev.check_clock().await;
    client.sandbox_destroy("dev").await.expect("it goes");
    assert_eq!(daemon.machines().await, []);
}
