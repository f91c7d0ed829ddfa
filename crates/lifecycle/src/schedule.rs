//! When something that is done again and again is due next.

use std::str::FromStr;
use std::time::Duration;

use bhatti_types::invalid::Invalid;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

/// How far ahead a time is looked for: a leap day comes at least once in so many days.
const HORIZON_DAYS: i64 = 8 * 366;
/// The shortest time between two.
const SHORTEST: Duration = Duration::from_mins(1);

/// When something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At the times that five fields of a crontab name, in UTC.
    Cron(Cron),
    /// Whenever so much time has passed.
    Every(Duration),
}

/// Five fields of a crontab, each as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// 0 is Sunday.
    weekdays: u64,
    /// Both days of the month and of the week are given: one of them is enough.
    either_day: bool,
}

impl Schedule {
    /// Takes a time between two, of at least a minute.
    pub fn every(time: Duration) -> Result<Self, Invalid> {
        if time < SHORTEST {
            let text = format!("{time:?}");
            return Err(Invalid::new("schedule", &text, "must be at least 1m"));
        }
        Ok(Self::Every(time))
    }

    /// When it is due next. `last` is when it was last done, if it ever was.
    pub fn next(&self, now: Timestamp, last: Option<Timestamp>) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.after(now),
            Self::Every(time) => {
                let next = last.and_then(|last| last.checked_add(*time).ok());
                Some(next.map_or(now, |next| next.max(now)))
            }
        }
    }
}

impl Cron {
    /// The first time after `now`; `None` if there is none, as on a 30th of February.
    pub fn after(&self, now: Timestamp) -> Option<Timestamp> {
        let begin = TimeZone::UTC.to_datetime(now);
        let mut date = begin.date();
        for _ in 0..HORIZON_DAYS {
            if self.has_day(date) {
                let found = (0..24 * 60).find_map(|minute: u32| {
                    let (hour, minute) = (minute / 60, minute % 60);
                    if self.hours >> hour & 1 == 0 || self.minutes >> minute & 1 == 0 {
                        return None;
                    }
                    let time = DateTime::from_parts(
                        date,
                        jiff::civil::time(hour as i8, minute as i8, 0, 0),
                    );
                    (time > begin).then_some(time)
                });
                if let Some(found) = found {
                    return TimeZone::UTC.to_timestamp(found).ok();
                }
            }
            date = date.checked_add(Span::new().days(1)).ok()?;
        }
        None
    }

    fn has_day(&self, date: Date) -> bool {
        if self.months >> date.month() & 1 == 0 {
            return false;
        }
        let day = self.days >> date.day() & 1 == 1;
        let weekday = self.weekdays >> date.weekday().to_sunday_zero_offset() & 1 == 1;
        if self.either_day {
            day || weekday
        } else {
            day && weekday
        }
    }
}

impl FromStr for Cron {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refuse = |reason: &str| Invalid::new("cron schedule", text, reason);
        let fields = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            other => other,
        };
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(refuse("must have five fields, as in `30 3 * * *`"));
        };
        let bits = |field, low, high| {
            bits(field, low, high).ok_or_else(|| {
                refuse("its fields must hold numbers, lists `1,2`, ranges `1-5`, `*` and `*/n`")
            })
        };
        let weekdays_bits = bits(weekdays, 0, 7)?;
        let cron = Self {
            minutes: bits(minutes, 0, 59)?,
            hours: bits(hours, 0, 23)?,
            days: bits(days, 1, 31)?,
            months: bits(months, 1, 12)?,
            // 7 is Sunday too.
            weekdays: weekdays_bits & 0x7f | weekdays_bits >> 7,
            either_day: !days.starts_with('*') && !weekdays.starts_with('*'),
        };
        if cron.after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(refuse("names a day that never comes"));
        }
        Ok(cron)
    }
}

/// One field as bits; `None` if it is not one.
fn bits(field: &str, low: u8, high: u8) -> Option<u64> {
    let mut all = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse::<u8>().ok().filter(|step| *step > 0)?),
            None => (part, 1),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (low, high),
            Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
            None => {
                let one = range.parse().ok()?;
                (one, if part.contains('/') { high } else { one })
            }
        };
        if first < low || last > high || first > last {
            return None;
        }
        for value in (first..=last).step_by(usize::from(step)) {
            all |= 1u64 << value;
        }
    }
    Some(all)
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::{Cron, Schedule};

    fn after(cron: &str, now: &str) -> String {
        let cron: Cron = cron.parse().unwrap();
        let next = cron.after(now.parse().unwrap()).unwrap();
        next.to_string()
    }

    #[test]
    fn the_next_time_is_the_first_that_all_fields_name() {
        let now = "2026-02-27T03:30:00Z";
        assert_eq!(after("30 3 * * *", now), "2026-02-28T03:30:00Z");
        assert_eq!(after("*/15 * * * *", now), "2026-02-27T03:45:00Z");
        assert_eq!(after("0 4,16 * * *", now), "2026-02-27T04:00:00Z");
        assert_eq!(after("0 0 29 2 *", now), "2028-02-29T00:00:00Z");
        // A Friday; 7 is Sunday as 0 is.
        assert_eq!(after("0 0 * * 7", now), "2026-03-01T00:00:00Z");
        assert_eq!(after("0 0 * * 1-5", now), "2026-03-02T00:00:00Z");
        // Both days given: either.
        assert_eq!(after("0 0 28 * 1", now), "2026-02-28T00:00:00Z");
        assert_eq!(after("@daily", now), "2026-02-28T00:00:00Z");
        assert_eq!(after("5/20 3 * * *", now), "2026-02-27T03:45:00Z");
    }

    #[test]
    fn what_names_no_time_is_refused() {
        for wrong in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "0 0 30 2 *",
            "-1 * * * *",
        ] {
            assert!(wrong.parse::<Cron>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_never_done_or_was_missed_is_due_at_once() {
        let now: Timestamp = "2026-02-27T03:30:00Z".parse().unwrap();
        let hourly = Schedule::every(Duration::from_hours(1)).unwrap();
        assert_eq!(hourly.next(now, None), Some(now));
        let ago = |minutes: u64| Some(now - Duration::from_mins(minutes));
        assert_eq!(hourly.next(now, ago(90)), Some(now));
        let later = now + Duration::from_mins(20);
        assert_eq!(hourly.next(now, ago(40)), Some(later));
        assert!(Schedule::every(Duration::from_secs(59)).is_err());
    }
}
