//! When the guest next wants to run, as its agent finds out from its own files.

use std::time::Duration;

use bhatti_guest::agent::NextTimer;
use bhatti_testing::bare::{BareMachine, Wanted};
use bhatti_testing::wait::wait_for;
use jiff::{SignedDuration, Timestamp};

/// Time for an answer from a guest on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);
/// Most resident memory of the agent, in bytes.
const AGENT_MEMORY: u64 = 8 << 20;

async fn next(machine: &BareMachine) -> Option<NextTimer> {
    let next = machine.link().next_timer(LIMIT).await;
    next.expect("the agent answers")
}

/// Starts a process of this name that does nothing, as a daemon in the background.
async fn daemon(machine: &BareMachine, name: &str) {
    let line = format!(
        "cp /bin/sleep /usr/local/sbin/{name} && \
         {{ setsid {name} 1000 > /dev/null 2>&1 < /dev/null & }}"
    );
    machine.sh(&line).await;
    wait_for(name, LIMIT, async || {
        let (found, _) = machine.try_sh(&format!("pgrep -x {name}")).await;
        if found.is_empty() { Err(()) } else { Ok(()) }
    })
    .await;
}

/// Minutes since 1970.
fn minutes(at: Timestamp) -> i64 {
    at.as_second() / 60
}

#[tokio::test]
async fn a_guest_says_when_its_crontab_or_at_next_wants_to_run() {
    let machine = BareMachine::boot(Wanted::default()).await;
    let now = Timestamp::now();
    let clock = u64::try_from(now.as_nanosecond()).expect("it is after 1970");
    machine
        .link()
        .set_clock(clock, LIMIT)
        .await
        .expect("the clock is set");
    assert_eq!(next(&machine).await, None);

    // Three hours from now, in a zone two hours east of Greenwich; a line that does not parse and
    // one that is due later are beside it.
    let due = now + SignedDuration::from_hours(3);
    let local = due + SignedDuration::from_hours(2);
    let (hour, minute) = (minutes(local) / 60 % 24, minutes(local) % 60);
    let line = format!("{minute} {hour} * * *");
    machine
        .sh(&format!(
            "mkdir -p /etc/cron.d /var/spool/cron && \
             printf '* * *\\n{line} daily true\\n@yearly root true\\n' > /etc/cron.d/job"
        ))
        .await;
    assert_eq!(
        next(&machine).await,
        None,
        "no daemon runs that would read it"
    );
    daemon(&machine, "crond").await;
    let found = next(&machine).await.expect("it is found");
    assert_eq!(found.what, format!("cron daily: {line}"));
    let in_utc = i64::try_from(found.unix_nanos / 60_000_000_000).expect("a time");
    // Without a zone of its own the guest is in Greenwich.
    assert_eq!(in_utc, minutes(local));

    machine
        .sh("printf 'CRON_TZ=<+02>-2\\n' | cat - /etc/cron.d/job > /tmp/job && mv /tmp/job /etc/cron.d/")
        .await;
    let found = next(&machine).await.expect("it is found");
    let wanted = NextTimer {
        unix_nanos: u64::try_from(minutes(due)).expect("a time") * 60_000_000_000,
        what: format!("cron daily: {line}"),
    };
    assert_eq!(found, wanted);

    // A job that is due in an hour comes before that, once there is somebody to run it.
    let hour = minutes(now + SignedDuration::from_hours(1));
    machine
        .sh(&format!(
            "mkdir -p /var/spool/cron/atjobs && cd /var/spool/cron/atjobs && \
             touch a0002a{hour:08x} && chmod 700 a0002a{hour:08x}"
        ))
        .await;
    assert_eq!(next(&machine).await, Some(wanted));
    daemon(&machine, "atd").await;
    let found = next(&machine).await.expect("it is found");
    assert_eq!(found.what, "at job 42");
    assert_eq!(found.unix_nanos / 60_000_000_000, hour.unsigned_abs());

    // Whatever lies there, the agent goes on and stays small.
    machine
        .sh("mkfifo /etc/crontab; head -c 1M /dev/urandom > /etc/cron.d/noise; \
             for n in $(seq 3000); do echo \"$((n % 60)) 0 29 2 1 root true\"; done > /etc/cron.d/many")
        .await;
    assert_eq!(next(&machine).await.expect("it is found").what, "at job 42");
    let status = machine
        .link()
        .status(LIMIT)
        .await
        .expect("the agent answers");
    assert!(status.rss_bytes < AGENT_MEMORY, "{status:?}");

    // Vcpus that stand still are no time to the guest; its wall clock is then set.
    let asleep = Duration::from_secs(3);
    let uptime = machine.sh("cut -d ' ' -f 1 /proc/uptime").await;
    machine.machine().pause().await.expect("it pauses");
    tokio::time::sleep(asleep).await;
    machine.machine().resume().await.expect("it goes on");
    let now = u64::try_from(Timestamp::now().as_nanosecond()).expect("it is after 1970");
    machine
        .link()
        .set_clock(now, LIMIT)
        .await
        .expect("the clock is set");
    let told = machine.sh("date +%s; cut -d ' ' -f 1 /proc/uptime").await;
    let (wall, up) = told.split_once('\n').expect("two lines");
    let number = |text: &str| text.parse::<f64>().expect("a number");
    assert!(number(wall) + 1.0 >= now as f64 / 1e9, "{told}");
    assert!(
        number(up) - number(&uptime) < asleep.as_secs_f64(),
        "{uptime}, then {told}"
    );
}
