//! What a guest sees of having slept; `docs/time.md` promises it.

use std::time::{Duration, SystemTime};

use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

use crate::clocks;

/// How long the machine lies on disk at least.
const NIGHT: Duration = Duration::from_secs(8);
/// A sleep in the guest that is under way when the machine falls asleep, in seconds: longer than
/// it takes to start it and to stop the machine.
const NAP: u64 = 15;
/// How late a program may be on a machine that is busy with others, in seconds.
const LATE: f64 = 4.0;
/// How far the guest's wall clock may be off after it woke.
const CLOCK_LIMIT: Duration = Duration::from_millis(100);

fn since_epoch() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("the host's clock is past 1970")
}

/// When the guest says that it was booted, in seconds since 1970.
async fn boot_time(guest: &Guest) -> u64 {
    let told = guest.sh("grep btime /proc/stat").await;
    let seconds = told.strip_prefix("btime ").expect("it is told");
    seconds.parse().expect("a number")
}

#[tokio::test]
async fn a_sleeping_machine_loses_no_running_time_and_finds_its_wall_clock_set() {
    let daemon = Daemon::start().await;
    let dev = Guest::create(daemon.client(), "dev").await;
    let booted = boot_time(&dev).await;
    clocks::start(&dev, NAP).await;
    dev.client()
        .sandbox_stop(dev.name())
        .await
        .expect("it stops");
    assert_eq!(daemon.machines().await, []);
    // The time that passes is what this is about.
    tokio::time::sleep(NIGHT).await;

    // The command wakes it.
    let told = dev.sh("date +%s.%N; date +%s.%N").await;
    let before = since_epoch();
    let told_again = dev.sh("date +%s.%N").await;
    let after = since_epoch();
    let second = |text: &str| Duration::from_secs_f64(text.parse().expect("a number"));
    let found = second(&told_again);
    assert!(
        found + CLOCK_LIMIT >= before && found <= after + CLOCK_LIMIT,
        "the clock says {found:?}, the host's {before:?} to {after:?}"
    );
    // It was right from the first command on.
    assert!(
        told.lines().all(|first| second(first) + NIGHT > before),
        "{told}"
    );

    // What is reckoned back from the wall clock moves with it.
    let moved = boot_time(&dev).await - booted;
    assert!(moved >= NIGHT.as_secs(), "booted {moved} s later");

    let saw = clocks::saw(&dev).await;
    let (nap, night) = (NAP as f64, NIGHT.as_secs_f64());
    // To the clocks of running time nothing happened: the sleep took what it had to.
    for slept in [saw.slept.monotonic, saw.slept.boottime] {
        assert!((nap..nap + LATE).contains(&slept), "{saw:?}");
    }
    for jump in [saw.jumps.monotonic, saw.jumps.boottime] {
        assert!(jump < LATE, "{saw:?}");
    }
    // The wall clock jumped by the night, once, and those who asked for it were told.
    assert!(saw.jumps.realtime >= night, "{saw:?}");
    assert!(saw.slept.realtime >= nap + night, "{saw:?}");
    assert_eq!(saw.timer, "ECANCELED", "{saw:?}");
}
