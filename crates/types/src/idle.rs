//! When a sandbox that nobody uses is paused and put to disk.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// A time without use, or never.
///
/// As text: `never`, or a whole number with `ms`, `s`, `m`, `h` or `d`, such as `30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IdleTime {
    /// After so long without a lease.
    After(Duration),
    /// Not for idleness.
    Never,
}

/// Longest idle time, a year: longer ones are slips, and `never` can be said.
const LONGEST: Duration = Duration::from_hours(24 * 366);

impl FromStr for IdleTime {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let invalid = || {
            Invalid::new(
                "idle time",
                text,
                "must be `never` or a number with ms, s, m, h or d, such as `30s`, at most 366d",
            )
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let millis_per_unit: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(invalid()),
        };
        let millis = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(millis_per_unit))
            .ok_or_else(invalid)?;
        let time = Duration::from_millis(millis);
        if time > LONGEST {
            return Err(invalid());
        }
        Ok(Self::After(time))
    }
}

impl fmt::Display for IdleTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::After(time) = self else {
            return f.write_str("never");
        };
        let millis = time.as_millis();
        let units = [
            (86_400_000, "d"),
            (3_600_000, "h"),
            (60_000, "m"),
            (1000, "s"),
        ];
        let whole = units
            .into_iter()
            .find(|(unit, _)| millis >= *unit && millis.is_multiple_of(*unit));
        match whole {
            Some((unit, name)) => write!(f, "{}{name}", millis / unit),
            None if millis == 0 => f.write_str("0s"),
            None => write!(f, "{millis}ms"),
        }
    }
}

impl TryFrom<String> for IdleTime {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<IdleTime> for String {
    fn from(time: IdleTime) -> Self {
        time.to_string()
    }
}

/// What is set for one sandbox or one user; what is `None` is taken from the next one up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdleSettings {
    /// Until its vCPUs are paused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_after: Option<IdleTime>,
    /// Until its memory goes to disk, counted from the pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cold_after: Option<IdleTime>,
    /// It is never paused for idleness, and wakes when the daemon starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_hot: Option<bool>,
    /// It counts as used while its VMM takes more than this share of one host core, in per cent.
    /// `Some(0)` switches that off where the next one up has it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_cpu: Option<u8>,
    /// It is woken for the next timer that its guest has told of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_timers: Option<bool>,
}

impl IdleSettings {
    /// These settings where they say something, else `under`'s.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            pause_after: self.pause_after.or(under.pause_after),
            cold_after: self.cold_after.or(under.cold_after),
            keep_hot: self.keep_hot.or(under.keep_hot),
            busy_cpu: self.busy_cpu.or(under.busy_cpu),
            wake_timers: self.wake_timers.or(under.wake_timers),
        }
    }
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use super::{IdleSettings, IdleTime};

    #[test]
    fn what_is_shown_is_read_again() {
        for text in ["never", "0s", "1500ms", "30s", "90m", "2h", "366d"] {
            let time: IdleTime = text.parse().unwrap();
            assert_eq!(time.to_string(), text);
        }
        let minute: IdleTime = "60s".parse().unwrap();
        assert_eq!(minute, IdleTime::After(Duration::from_mins(1)));
        assert_eq!(minute.to_string(), "1m");
    }

    #[test]
    fn what_is_not_a_time_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "367d",
            "1w",
            "Never",
            "99999999999999999999s",
        ] {
            assert!(text.parse::<IdleTime>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_sandbox_does_not_say_its_user_says() {
        let user = IdleSettings {
            pause_after: Some(IdleTime::Never),
            keep_hot: Some(true),
            ..IdleSettings::default()
        };
        let sandbox = IdleSettings {
            keep_hot: Some(false),
            ..IdleSettings::default()
        };
        let both = sandbox.over(user);
        assert_eq!(both.pause_after, Some(IdleTime::Never));
        assert_eq!(both.keep_hot, Some(false));
    }
}
