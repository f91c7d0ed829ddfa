//! The timers of systemd.
//!
//! `systemctl list-timers` mixes timers of the wall clock with those that count running time, and
//! gives of a unit that has both only the earlier. The latter stand still while the machine
//! sleeps: to be woken for them would be to be woken for nothing, over and over. So it is the
//! units' own property that is asked for.

use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

use super::found::{Found, Moment};
use crate::reaper::Reaper;
use crate::systemctl;

/// The longest that systemd is waited for.
const LIMIT: Duration = Duration::from_secs(2);
/// Asks systemd, if it runs the system, for the first timer of the wall clock that is due in the
/// future.
pub(crate) fn look(
    root: &Path,
    program: &str,
    reaper: &dyn Reaper,
    found: &mut Found,
) -> Result<(), io::Error> {
    if !systemctl::is_booted(root) {
        return Ok(());
    }
    let deadline = found.deadline().min(Instant::now() + LIMIT);
    let argv = [
        program,
        "show",
        "--property=Id,NextElapseUSecRealtime",
        "*.timer",
    ];
    let text = systemctl::ask(root, &argv, reaper, deadline)?;
    for moment in moments(&text) {
        found.add(moment);
    }
    Ok(())
}

/// The moments in blocks of properties, an empty line between two units.
fn moments(text: &str) -> impl Iterator<Item = Moment> {
    text.split("\n\n").filter_map(|unit| {
        let property = |name: &str| {
            let mut lines = unit.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        };
        let at = time(property("NextElapseUSecRealtime")?)?;
        Some(Moment::new(at, format!("systemd {}", property("Id")?)))
    })
}

/// A time such as `Sun 2026-11-29 03:10:07 UTC`; nothing for a timer that has none.
fn time(text: &str) -> Option<Timestamp> {
    let (_, rest) = text.strip_suffix(" UTC")?.split_once(' ')?;
    let (day, time) = rest.split_once(' ')?;
    let (year, month, day) = numbers::<i16>(day, '-')?;
    let (hour, minute, second) = numbers::<i8>(time, ':')?;
    let date = Date::new(year, month, day).ok()?;
    let time = Time::new(hour, minute, second, 0).ok()?;
    TimeZone::UTC.to_timestamp(date.to_datetime(time)).ok()
}

/// Three numbers, of which the first may be a year.
fn numbers<T: FromStr>(text: &str, between: char) -> Option<(T, i8, i8)> {
    let mut parts = text.split(between);
    let first = parts.next()?.parse().ok()?;
    let second = parts.next()?.parse().ok()?;
    let third = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((first, second, third))
}

#[cfg(test)]
mod test {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::super::found::Found;
    use super::{look, moments};
    use crate::reaper::ThreadReaper;

    /// As systemd 252 says it, of timers of each kind; one of them has never run.
    const SHOWN: &str = "NextElapseUSecRealtime=\nId=b.timer\n\n\
        NextElapseUSecRealtime=Mon 2026-11-30 00:00:00 UTC\nId=c.timer\n\n\
        Id=e2scrub_all.timer\nNextElapseUSecRealtime=Sun 2026-11-29 03:10:07 UTC\n\n\
        NextElapseUSecRealtime=\nId=fstrim.timer\n\n\
        NextElapseUSecRealtime=Tue 2026-11-24 22:53:45 UTC\nId=apt-daily.timer\n";

    fn told(text: &str) -> Vec<String> {
        moments(text)
            .map(|moment| format!("{} {}", moment.what, moment.at))
            .collect()
    }

    #[test]
    fn times_of_the_wall_clock_are_read_and_others_are_not() {
        assert_eq!(
            told(SHOWN),
            [
                "systemd c.timer 2026-11-30T00:00:00Z",
                "systemd e2scrub_all.timer 2026-11-29T03:10:07Z",
                "systemd apt-daily.timer 2026-11-24T22:53:45Z",
            ]
        );
    }

    #[test]
    fn what_is_no_time_is_passed_over() {
        for time in [
            "n/a",
            "infinity",
            "0",
            "Mon 2026-11-30 00:00:00 CET",
            "Mon 2026-13-30 00:00:00 UTC",
            "Mon 2026-11-30 24:00:00 UTC",
            "Mon 2026-11-30 00:00 UTC",
            "Mon 2026-11-30-1 00:00:00 UTC",
            "Mon 99999-11-30 00:00:00 UTC",
            "2026-11-30 UTC",
        ] {
            let text = format!("Id=a.timer\nNextElapseUSecRealtime={time}\n\n{SHOWN}");
            assert_eq!(told(&text), told(SHOWN), "{time}");
        }
        assert_eq!(
            told("NextElapseUSecRealtime=Mon 2026-11-30 00:00:00 UTC"),
            [""; 0]
        );
    }

    fn found() -> Found {
        let now = "2026-11-24T22:53:45Z".parse().unwrap();
        Found::new(now, Instant::now() + Duration::from_secs(20))
    }

    /// A program that stands for `systemctl`.
    fn program(root: &Path, script: &str) -> String {
        let path = root.join("systemctl");
        fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn systemd_is_asked_only_where_it_runs() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs_err::write(root.join("shown"), SHOWN).unwrap();
        let shown = root.join("shown");
        let script = format!(
            "test \"$TZ $LC_ALL\" = 'UTC C' && test \"$1\" = show && cat {}",
            shown.display()
        );
        let program = program(root, &script);
        let mut found_there = found();
        look(root, &program, &ThreadReaper, &mut found_there).unwrap();
        assert_eq!(found_there.first(), None);
        fs_err::create_dir_all(root.join("run/systemd/system")).unwrap();
        let mut found_there = found();
        look(root, &program, &ThreadReaper, &mut found_there).unwrap();
        // The one that is due now is no longer in the future.
        assert_eq!(
            found_there.first().unwrap().what,
            "systemd e2scrub_all.timer"
        );
    }

    #[test]
    fn a_systemd_that_hangs_or_talks_for_ever_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs_err::create_dir_all(root.join("run/systemd/system")).unwrap();
        let asked = |script: &str, limit| {
            let mut found = Found::new(jiff::Timestamp::UNIX_EPOCH, Instant::now() + limit);
            let program = program(root, script);
            look(root, &program, &ThreadReaper, &mut found)
                .unwrap_err()
                .to_string()
        };
        let long = Duration::from_secs(20);
        assert_eq!(asked("yes", long), "systemctl said too much");
        let short = Duration::from_millis(200);
        assert_eq!(
            asked("exec sleep 1000", short),
            "systemctl did not answer in time"
        );
        let mut found = found();
        let error = look(root, "/none/systemctl", &ThreadReaper, &mut found).unwrap_err();
        assert!(
            error.to_string().contains("cannot run systemctl"),
            "{error}"
        );
    }
}
