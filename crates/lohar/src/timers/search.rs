//! From a schedule in local time to the instant at which it comes next.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::schedule::Schedule;

/// Changes of the clock that are gone through: more than five years have anywhere.
const MAX_CHANGES: usize = 64;
/// Seconds of a minute.
const MINUTE: i64 = 60;

/// The first whole minute after `after` and before `before` at which the daemon would run the
/// schedule.
///
/// Where the local clock jumps, this is as Vixie cron has it: a line that names an hour and a
/// minute runs once for each time that it names, at the jump if the jump leaves that time out, and
/// not again where the clock repeats it; any other runs by what the clock shows.
pub(crate) fn next(
    schedule: &Schedule,
    zone: &TimeZone,
    after: Timestamp,
    before: Timestamp,
) -> Option<Timestamp> {
    let last = zone.to_datetime(before).date().tomorrow().ok()?;
    let mut at = whole_minute_after(after)?;
    if schedule.is_fixed() {
        at = at.max(end_of_repetition(zone, at));
    }
    for _ in 0..MAX_CHANGES {
        if at >= before {
            return None;
        }
        let local = zone.to_datetime(at);
        let wanted = schedule.next_from(up_to_minute(local)?, last)?;
        let found = later(at, local, wanted)?;
        let change = zone.following(at).next().map(|change| change.timestamp());
        let Some(change) = change.filter(|change| *change <= found) else {
            return Some(found).filter(|found| *found < before);
        };
        let ends = at_offset_before(zone, change)?;
        let begins = zone.to_datetime(change);
        at = change;
        if schedule.is_fixed() {
            if ends <= wanted && wanted < begins {
                // Left out by the jump.
                return Some(change).filter(|change| *change < before);
            }
            if begins < ends {
                at = later(change, begins, ends)?;
            }
        }
    }
    None
}

/// The end of the time that the local clock shows for the second time now; `now` if it does not.
fn end_of_repetition(zone: &TimeZone, now: Timestamp) -> Timestamp {
    // A change at this very moment counts.
    let from = now.checked_add(jiff::SignedDuration::from_nanos(1));
    let change = from
        .ok()
        .and_then(|from| zone.preceding(from).next())
        .map(|change| change.timestamp());
    let end = change.and_then(|change| {
        let begins = zone.to_datetime(change);
        later(change, begins, at_offset_before(zone, change)?)
    });
    end.unwrap_or(now).max(now)
}

/// What the local clock would show at a change if there were none.
fn at_offset_before(zone: &TimeZone, change: Timestamp) -> Option<DateTime> {
    let moment = jiff::SignedDuration::from_secs(1);
    let before = change.checked_sub(moment).ok()?;
    zone.to_datetime(before).checked_add(moment).ok()
}

/// The instant at which a clock that shows `local` at `at` shows `wanted`.
fn later(at: Timestamp, local: DateTime, wanted: DateTime) -> Option<Timestamp> {
    at.checked_add(wanted.duration_since(local)).ok()
}

fn whole_minute_after(after: Timestamp) -> Option<Timestamp> {
    let minute = after.as_second().div_euclid(MINUTE) + 1;
    Timestamp::from_second(minute * MINUTE).ok()
}

/// The local time itself, or the next whole minute: offsets of long ago have seconds.
fn up_to_minute(local: DateTime) -> Option<DateTime> {
    let over = i64::from(local.second());
    let rest = if over == 0 { 0 } else { MINUTE - over };
    local
        .checked_add(jiff::SignedDuration::from_secs(rest))
        .ok()
}

#[cfg(test)]
mod test {
    use jiff::tz::TimeZone;
    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::*;

    use super::super::schedule::{Dialect, Schedule};
    use super::next;

    /// Clocks that jump by an hour, by half an hour, across midnight, south of the equator, twice
    /// around Ramadan, and never.
    const ZONES: [&str; 6] = [
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "LHST-10:30LHDT-11,M10.1.0,M4.1.0",
        "<-04>4<-03>,M9.1.0/24,M4.1.0/24",
        "NZST-12NZDT,M9.5.0,M4.1.0/3",
        "NST3:30NDT,M3.2.0/0:01,M11.1.0/0:01",
        "UTC0",
    ];

    fn zone(posix: &str) -> TimeZone {
        TimeZone::posix(posix).unwrap()
    }

    fn schedule(line: &str, dialect: Dialect) -> Schedule {
        let fields: Vec<&str> = line.split(' ').collect();
        Schedule::parse(fields.try_into().unwrap(), dialect).unwrap()
    }

    /// What comes after a moment, as local time with its offset.
    #[track_caller]
    fn found(line: &str, posix: &str, after: &str) -> String {
        let zone = zone(posix);
        let after = after.parse().unwrap();
        let schedule = schedule(line, Dialect::Vixie);
        let found = next(&schedule, &zone, after, Timestamp::MAX).unwrap();
        let local = zone.to_datetime(found).strftime("%F %H:%M").to_string();
        let offset = zone.to_offset(found).seconds() / 60;
        format!("{local} {:+03}:{:02}", offset / 60, offset % 60)
    }

    #[test]
    fn the_next_minute_is_in_the_future_and_in_the_guests_own_zone() {
        let berlin = ZONES[0];
        assert_eq!(
            found("5 4 * * *", berlin, "2026-11-24T03:04:59.9Z"),
            "2026-11-24 04:05 +01:00"
        );
        assert_eq!(
            found("5 4 * * *", berlin, "2026-11-24T03:05:00Z"),
            "2026-11-25 04:05 +01:00"
        );
        assert_eq!(
            found("5 4 * * *", berlin, "2026-06-24T03:05:00Z"),
            "2026-06-25 04:05 +02:00"
        );
    }

    #[test]
    fn a_time_that_the_clock_leaves_out_runs_at_the_jump() {
        let berlin = ZONES[0];
        assert_eq!(
            found("30 2 * * *", berlin, "2026-03-28T12:00:00Z"),
            "2026-03-29 03:00 +02:00"
        );
        // One that goes by the clock does not.
        assert_eq!(
            found("30 */2 * * *", berlin, "2026-03-28T23:45:00Z"),
            "2026-03-29 04:30 +02:00"
        );
    }

    #[test]
    fn a_time_that_the_clock_shows_twice_runs_once() {
        let berlin = ZONES[0];
        assert_eq!(
            found("30 2 * * *", berlin, "2026-10-24T12:00:00Z"),
            "2026-10-25 02:30 +02:00"
        );
        for after in [
            "2026-10-25T00:31:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:10:00Z",
        ] {
            assert_eq!(
                found("30 2 * * *", berlin, after),
                "2026-10-26 02:30 +01:00",
                "{after}"
            );
        }
        assert_eq!(
            found("0 3 * * *", berlin, "2026-10-25T00:31:00Z"),
            "2026-10-25 03:00 +01:00"
        );
        // One that goes by the clock runs twice.
        assert_eq!(
            found("30 * * * *", berlin, "2026-10-25T00:31:00Z"),
            "2026-10-25 02:30 +01:00"
        );
    }

    #[test]
    fn what_is_not_before_the_limit_is_not_found() {
        let schedule = schedule("5 4 * * *", Dialect::Vixie);
        let after = "2026-11-24T00:00:00Z".parse().unwrap();
        let at: Timestamp = "2026-11-24T04:05:00Z".parse().unwrap();
        let until = |before| next(&schedule, &TimeZone::UTC, after, before);
        assert_eq!(until(at), None);
        assert_eq!(until(at + SignedDuration::from_secs(1)), Some(at));
    }

    /// Vixie's own way: a clock of its own that is led through every minute. Gives the first
    /// minute after `after` in which the line is run.
    fn minute_by_minute(schedule: &Schedule, zone: &TimeZone, after: Timestamp) -> Option<i64> {
        const DAY: i64 = 24 * 60;
        let local = |minute: i64| {
            let shown = zone.to_datetime(Timestamp::from_second(minute * 60).unwrap());
            let since = shown.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0));
            since.as_secs() / 60
        };
        let runs = |local: i64| {
            let local = SignedDuration::from_mins(local);
            schedule.has(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0) + local)
        };
        let first = after.as_second().div_euclid(60) + 1;
        // From a day earlier on, so that a repetition that is under way is known as one.
        let start = first - DAY;
        let mut clock = local(start - 1);
        for minute in start..first + 40 * DAY {
            let shown = local(minute);
            let run = if schedule.is_fixed() {
                // Nothing while the clock repeats; all that was left out when it jumps.
                let run = (clock + 1..=shown).any(runs);
                clock = clock.max(shown);
                run
            } else {
                runs(shown)
            };
            if run && minute >= first {
                return Some(minute * 60);
            }
        }
        None
    }

    fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
        let number = low..=high;
        prop_oneof![
            3 => Just("*".to_owned()),
            1 => (2..=high).prop_map(|step| format!("*/{step}")),
            2 => number.clone().prop_map(|value| value.to_string()),
            1 => (number.clone(), number.clone()).prop_map(|(a, b)| format!("{a},{b}")),
            1 => (number.clone(), number, 1u32..5).prop_map(|(a, b, step)| {
                format!("{}-{}/{step}", a.min(b), a.max(b))
            }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]
        #[test]
        fn the_next_run_is_the_one_that_a_minute_by_minute_search_finds(
            minute in field(0, 59),
            hour in field(0, 23),
            day in field(1, 31),
            month in field(1, 12),
            weekday in field(0, 7),
            zone_index in 0..ZONES.len(),
            near in prop::option::of((0usize..6, -90_000i64..90_000)),
            second in 1_767_225_600i64..1_900_000_000,
            busybox: bool,
        ) {
            let dialect = if busybox { Dialect::Busybox } else { Dialect::Vixie };
            let zone = zone(ZONES[zone_index]);
            let schedule = schedule(
                &format!("{minute} {hour} {day} {month} {weekday}"),
                dialect,
            );
            let mut after = Timestamp::from_second(second).unwrap();
            if let Some((changes, seconds)) = near {
                // Close to a change of the clock, where it is hard.
                if let Some(change) = zone.following(after).nth(changes) {
                    after = change.timestamp() + SignedDuration::from_secs(seconds);
                }
            }
            let wanted = minute_by_minute(&schedule, &zone, after);
            // As far as that looks.
            let before = after + SignedDuration::from_hours(24 * 40);
            let found = next(&schedule, &zone, after, before).map(Timestamp::as_second);
            let wanted = wanted.filter(|second| *second < before.as_second());
            prop_assert_eq!(found, wanted);
        }
    }
}
