//! The five fields of a line of a crontab.
//!
//! Written for the daemons that guests really run, whose rules differ from those of the libraries
//! there are: Vixie's, which Debian has and cronie comes from, and busybox's.

use jiff::civil::{Date, DateTime};

/// Whose rules a schedule is read by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Vixie cron and what came of it.
    Vixie,
    /// The `crond` of busybox.
    Busybox,
}

/// The minutes of local time at which a line runs. Never without any minute, hour, day of the
/// month, month or day of the week, though no day may be all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    /// Bit 0 to 59.
    minutes: u64,
    /// Bit 0 to 23.
    hours: u64,
    /// Days of the month, bit 1 to 31.
    days: u64,
    /// Bit 1 to 12.
    months: u64,
    /// Bit 0 to 6, from Sunday.
    weekdays: u64,
    /// One of the two kinds of days is enough; else both have to be right.
    either_day: bool,
    /// It names an hour and a minute. Vixie cron runs such a line once for each time that it
    /// names, also on the day that has no such time, or has it twice.
    fixed: bool,
}

const MINUTES: Field = Field::new(0, 59, &[]);
const HOURS: Field = Field::new(0, 23, &[]);
const DAYS: Field = Field::new(1, 31, &[]);
const MONTHS: Field = Field::new(
    1,
    12,
    &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
);
/// Sunday is 0 and 7.
const WEEKDAYS: Field = Field::new(0, 7, &["sun", "mon", "tue", "wed", "thu", "fri", "sat"]);

impl Schedule {
    /// Reads minute, hour, day of the month, month and day of the week. `None` if the daemon would
    /// not take them.
    pub(crate) fn parse(fields: [&str; 5], dialect: Dialect) -> Option<Self> {
        let [minute, hour, day, month, weekday] = fields;
        let mut weekdays = WEEKDAYS.parse(weekday, dialect)?;
        weekdays = (weekdays | weekdays >> 7) & WEEK;
        let days = DAYS.parse(day, dialect)?;
        let (either_day, fixed) = match dialect {
            // What counts for Vixie is the asterisk, not what it comes to: "*/2" has it too.
            Dialect::Vixie => (
                !day.starts_with('*') && !weekday.starts_with('*'),
                !minute.starts_with('*') && !hour.starts_with('*'),
            ),
            Dialect::Busybox => (days != DAYS.all() && weekdays != WEEK, false),
        };
        Some(Self {
            minutes: MINUTES.parse(minute, dialect)?,
            hours: HOURS.parse(hour, dialect)?,
            days,
            months: MONTHS.parse(month, dialect)?,
            weekdays,
            either_day,
            fixed,
        })
    }

    /// Reads a word such as `@daily`. `None` for `@reboot`, which is no time.
    pub(crate) fn named(name: &str, dialect: Dialect) -> Option<Self> {
        let fields = match name {
            "@yearly" | "@annually" => ["0", "0", "1", "1", "*"],
            "@monthly" => ["0", "0", "1", "*", "*"],
            "@weekly" => ["0", "0", "*", "*", "0"],
            "@daily" | "@midnight" => ["0", "0", "*", "*", "*"],
            "@hourly" => ["0", "*", "*", "*", "*"],
            _ => return None,
        };
        Self::parse(fields, dialect)
    }

    /// Whether it is run once for each time that it names.
    pub(crate) const fn is_fixed(&self) -> bool {
        self.fixed
    }

    /// The first of its minutes that is not before `from`, looked for up to the end of `last`.
    /// `from` is a whole minute.
    pub(crate) fn next_from(&self, from: DateTime, last: Date) -> Option<DateTime> {
        let mut date = from.date();
        let (mut hour, mut minute) = (from.hour(), from.minute());
        while date <= last {
            if !has(self.months, date.month()) {
                date = date.last_of_month().tomorrow().ok()?;
            } else if self.is_day(date)
                && let Some((hour, minute)) = self.time_from(hour, minute)
            {
                return Some(date.at(hour, minute, 0, 0));
            } else {
                date = date.tomorrow().ok()?;
            }
            (hour, minute) = (0, 0);
        }
        None
    }

    fn is_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.either_day {
            day || weekday
        } else {
            day && weekday
        }
    }

    /// The first time of a day that is not before this one.
    fn time_from(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        let minutes = self.minutes & u64::MAX << minute;
        if has(self.hours, hour) && minutes != 0 {
            return Some((hour, minutes.trailing_zeros() as i8));
        }
        let hours = self.hours & u64::MAX << (hour + 1);
        (hours != 0).then(|| {
            (
                hours.trailing_zeros() as i8,
                self.minutes.trailing_zeros() as i8,
            )
        })
    }

    /// Whether it runs in this minute of local time.
    #[cfg(test)]
    pub(crate) fn has(&self, local: DateTime) -> bool {
        has(self.minutes, local.minute())
            && has(self.hours, local.hour())
            && has(self.months, local.month())
            && self.is_day(local.date())
    }
}

/// All days of the week.
const WEEK: u64 = 0x7f;

fn has(set: u64, member: i8) -> bool {
    set >> member & 1 == 1
}

/// What may stand in one field.
struct Field {
    low: u32,
    high: u32,
    /// Words for numbers, from `low` on.
    names: &'static [&'static str],
}

impl Field {
    const fn new(low: u32, high: u32, names: &'static [&'static str]) -> Self {
        Self { low, high, names }
    }

    const fn all(&self) -> u64 {
        (u64::MAX >> (63 - self.high)) & (u64::MAX << self.low)
    }

    /// The set that a list of numbers and ranges describes; never empty.
    fn parse(&self, text: &str, dialect: Dialect) -> Option<u64> {
        text.split(',')
            .map(|part| self.part(part, dialect))
            .try_fold(0, |set, part| Some(set | part?))
    }

    fn part(&self, text: &str, dialect: Dialect) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, number(step).filter(|step| *step > 0)?),
            None => (text, 1),
        };
        if range == "*" {
            return Some(every(self.low, self.high, step));
        }
        // cronie draws a minute from "10~20" when it reads the file. Nobody else knows which, so
        // each of them is one at which the line may run.
        if let Some((first, last)) = range.split_once('~') {
            let first = self.value_or(first, self.low)?;
            let last = self.value_or(last, self.high)?;
            return (first <= last).then(|| every(first, last, 1));
        }
        let Some((first, last)) = range.split_once('-') else {
            // A step means nothing after a single number.
            return Some(1 << self.value(range)?);
        };
        let (first, last) = (self.value(first)?, self.value(last)?);
        match dialect {
            _ if first <= last => Some(every(first, last, step)),
            Dialect::Vixie => None,
            // It counts on beyond the end: 22-2 are five hours.
            Dialect::Busybox => {
                let size = if self.names.len() == 7 {
                    7
                } else {
                    self.high + 1
                };
                let unrolled = (first..=last + size).step_by(step as usize);
                let set = unrolled.fold(0, |set: u64, value| set | 1 << (value % size));
                Some(set & self.all())
            }
        }
        .filter(|set| *set != 0)
    }

    fn value_or(&self, text: &str, default: u32) -> Option<u32> {
        if text.is_empty() {
            Some(default)
        } else {
            self.value(text)
        }
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = |name: &&str| name.eq_ignore_ascii_case(text);
        match self.names.iter().position(named) {
            Some(index) => Some(self.low + index as u32),
            None => number(text).filter(|value| (self.low..=self.high).contains(value)),
        }
    }
}

fn every(first: u32, last: u32, step: u32) -> u64 {
    (first..=last)
        .step_by(step as usize)
        .fold(0, |set, value| set | 1 << value)
}

/// A number as it stands in a crontab: digits, and not many.
fn number(text: &str) -> Option<u32> {
    let fit = (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    fit.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod test {
    use jiff::civil::{DateTime, date};

    use super::{Dialect, Schedule};

    fn schedule(line: &str, dialect: Dialect) -> Option<Schedule> {
        let fields: Vec<&str> = line.split(' ').collect();
        Schedule::parse(fields.try_into().unwrap(), dialect)
    }

    /// The first minutes of a schedule after the start of 2026, a Thursday.
    fn first(line: &str, dialect: Dialect, count: usize) -> Vec<String> {
        let schedule = schedule(line, dialect).unwrap();
        let mut from: DateTime = date(2026, 1, 1).at(0, 0, 0, 0);
        let mut found = Vec::new();
        while found.len() < count {
            let next = schedule.next_from(from, date(2040, 1, 1)).unwrap();
            found.push(next.strftime("%m-%d %H:%M").to_string());
            from = next + jiff::Span::new().minutes(1);
        }
        found
    }

    #[test]
    fn lists_ranges_steps_and_names_are_read() {
        use Dialect::Vixie;
        assert_eq!(
            first("5,10-14/2 4 * * *", Vixie, 5),
            [
                "01-01 04:05",
                "01-01 04:10",
                "01-01 04:12",
                "01-01 04:14",
                "01-02 04:05"
            ]
        );
        assert_eq!(
            first("0 */9 * * *", Vixie, 4),
            ["01-01 00:00", "01-01 09:00", "01-01 18:00", "01-02 00:00"]
        );
        assert_eq!(
            first("0 0 * FEB-mar Mon-Tue", Vixie, 2),
            ["02-02 00:00", "02-03 00:00"]
        );
        assert_eq!(first("0 0 * * 7", Vixie, 1), first("0 0 * * sun", Vixie, 1),);
        assert_eq!(
            first("0 0 * * 5-7", Vixie, 3),
            ["01-02 00:00", "01-03 00:00", "01-04 00:00"]
        );
        assert_eq!(
            first("58~ 0 * * *", Vixie, 3),
            ["01-01 00:58", "01-01 00:59", "01-02 00:58"]
        );
        assert_eq!(first("0 0 29 2 *", Vixie, 1), ["02-29 00:00"]);
    }

    #[test]
    fn which_of_the_two_kinds_of_days_counts_depends_on_the_daemon() {
        use Dialect::{Busybox, Vixie};
        // Both restrict: one is enough.
        for dialect in [Vixie, Busybox] {
            assert_eq!(
                first("0 0 6 * mon", dialect, 3),
                ["01-05 00:00", "01-06 00:00", "01-12 00:00"]
            );
        }
        // An asterisk with a step is still an asterisk for Vixie: both are needed.
        assert_eq!(
            first("0 0 */2 * mon", Vixie, 2),
            ["01-05 00:00", "01-19 00:00"]
        );
        assert_eq!(
            first("0 0 */2 * mon", Busybox, 4),
            ["01-01 00:00", "01-03 00:00", "01-05 00:00", "01-07 00:00"]
        );
        // All days by their numbers are no asterisk.
        assert_eq!(
            first("0 0 1-31 * mon", Vixie, 2),
            ["01-01 00:00", "01-02 00:00"]
        );
        assert_eq!(
            first("0 0 1-31 * mon", Busybox, 2),
            ["01-05 00:00", "01-12 00:00"]
        );
    }

    #[test]
    fn a_range_that_goes_backwards_is_busyboxs_only() {
        assert_eq!(schedule("0 22-2 * * *", Dialect::Vixie), None);
        assert_eq!(
            first("0 22-2/2 * * *", Dialect::Busybox, 4),
            ["01-01 00:00", "01-01 02:00", "01-01 22:00", "01-02 00:00"]
        );
        assert_eq!(
            first("0 0 * * sat-mon", Dialect::Busybox, 3),
            ["01-03 00:00", "01-04 00:00", "01-05 00:00"]
        );
    }

    #[test]
    fn what_no_daemon_takes_is_not_taken() {
        for line in [
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "1,,2 * * * *",
            "1- * * * *",
            "-1 * * * *",
            "*5 * * * *",
            "* * * january *",
            "* * * * +1",
            "99999999999999999999 * * * *",
            "1-5-9 * * * *",
            "9~3 * * * *",
        ] {
            for dialect in [Dialect::Vixie, Dialect::Busybox] {
                assert_eq!(schedule(line, dialect), None, "{line}");
            }
        }
    }

    #[test]
    fn a_day_that_never_comes_is_not_looked_for_for_ever() {
        let never = schedule("0 0 30 2 *", Dialect::Vixie).unwrap();
        let from = date(2026, 1, 1).at(0, 0, 0, 0);
        assert_eq!(never.next_from(from, date(2100, 1, 1)), None);
    }

    #[test]
    fn words_are_schedules_and_reboot_is_none() {
        for (word, line) in [
            ("@yearly", "0 0 1 1 *"),
            ("@annually", "0 0 1 1 *"),
            ("@monthly", "0 0 1 * *"),
            ("@weekly", "0 0 * * 0"),
            ("@daily", "0 0 * * *"),
            ("@midnight", "0 0 * * *"),
            ("@hourly", "0 * * * *"),
        ] {
            let named = Schedule::named(word, Dialect::Vixie);
            assert_eq!(named, schedule(line, Dialect::Vixie), "{word}");
        }
        assert_eq!(Schedule::named("@reboot", Dialect::Vixie), None);
    }
}
