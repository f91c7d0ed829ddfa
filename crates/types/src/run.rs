//! What a machine runs by itself: its init, and one program that is kept running.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// What process 1 of a machine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Init {
    /// bhatti's own agent; nothing of the image is started unless it is asked for.
    #[default]
    Lohar,
    /// The image's systemd, with the agent as one of its services.
    Systemd,
}

impl Init {
    /// The word, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lohar => "lohar",
            Self::Systemd => "systemd",
        }
    }

    /// Whether it is the one that goes without saying.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Init {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a program that has ended is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// It is not.
    No,
    /// If it did not end with exit code 0.
    #[default]
    OnFailure,
    /// However it ended.
    Always,
}

impl RestartPolicy {
    /// The word, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "no" => Ok(Self::No),
            "on-failure" => Ok(Self::OnFailure),
            "always" => Ok(Self::Always),
            _ => Err(Invalid::new(
                "restart policy",
                text,
                "must be no, on-failure or always",
            )),
        }
    }
}

/// The signal that asks a program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct StopSignal(i32);

/// Signals by their names on Linux, x86-64 and ARM64 alike (`signal(7)`).
const SIGNALS: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];
/// The first and the last of the real-time signals, as the C library counts them.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl StopSignal {
    /// `SIGTERM`.
    pub const TERM: Self = Self(15);

    /// Its number on Linux, 1 to 64.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl Default for StopSignal {
    fn default() -> Self {
        Self::TERM
    }
}

impl TryFrom<i32> for StopSignal {
    type Error = Invalid;

    fn try_from(number: i32) -> Result<Self, Invalid> {
        if (1..=RTMAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(Invalid::new("signal", &number.to_string(), RULE))
        }
    }
}

impl From<StopSignal> for i32 {
    fn from(signal: StopSignal) -> Self {
        signal.0
    }
}

/// What a signal may look like.
const RULE: &str = "must be a number from 1 to 64 or a name such as SIGTERM or SIGRTMIN+3";

impl FromStr for StopSignal {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("signal", text, RULE);
        if let Ok(number) = text.parse::<i32>() {
            return Self::try_from(number).map_err(|_| invalid());
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let offset = |rest: &str| rest.parse::<i32>().ok().filter(|offset| *offset >= 0);
        let number = match name {
            "RTMIN" => Some(RTMIN),
            "RTMAX" => Some(RTMAX),
            "POLL" => Some(29),
            "IOT" => Some(6),
            _ => {
                let named = SIGNALS.iter().find(|(known, _)| *known == name);
                let from_min = || RTMIN.checked_add(offset(name.strip_prefix("RTMIN+")?)?);
                let from_max = || RTMAX.checked_sub(offset(name.strip_prefix("RTMAX-")?)?);
                named
                    .map(|(_, number)| *number)
                    .or_else(from_min)
                    .or_else(from_max)
            }
        };
        let number = number.ok_or_else(invalid)?;
        let real_time = name.starts_with("RT");
        if real_time && !(RTMIN..=RTMAX).contains(&number) {
            return Err(invalid());
        }
        Self::try_from(number).map_err(|_| invalid())
    }
}

/// Most arguments of a program that is kept running, the program included.
const MAX_ARGUMENTS: usize = 4096;
/// Most bytes of all of them. Linux takes 128 KiB for one and 2 MiB for all; a record has to
/// fit into one message to the agent.
const MAX_BYTES: usize = 64 * 1024;

/// A program that is kept running in a machine, as its user, in its environment and directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSpec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Whether it is started again.
    pub restart: RestartPolicy,
    /// What asks it to end.
    #[serde(default)]
    pub stop_signal: StopSignal,
}

impl RunSpec {
    /// One of these parts, if they can be executed at all.
    pub fn new(
        argv: Vec<String>,
        restart: RestartPolicy,
        stop_signal: StopSignal,
    ) -> Result<Self, Invalid> {
        let program = argv.first().map_or("", String::as_str);
        let refuse = |why: &str| Err(Invalid::new("program to run", program, why));
        if program.is_empty() {
            return refuse("must not be empty");
        }
        if argv.len() > MAX_ARGUMENTS {
            return refuse("may have at most 4096 arguments");
        }
        if argv.iter().map(String::len).sum::<usize>() > MAX_BYTES {
            return refuse("may have at most 64 KiB of arguments");
        }
        if argv.iter().any(|argument| argument.contains('\0')) {
            return refuse("may hold no NUL");
        }
        Ok(Self {
            argv,
            restart,
            stop_signal,
        })
    }
}

#[cfg(test)]
mod test {
    use super::{RestartPolicy, RunSpec, StopSignal};

    #[test]
    fn a_signal_goes_by_number_and_by_name() {
        for (text, number) in [
            ("9", 9),
            ("SIGQUIT", 3),
            ("term", 15),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGRTMIN", 34),
        ] {
            assert_eq!(
                text.parse::<StopSignal>().unwrap().number(),
                number,
                "{text}"
            );
        }
        for text in [
            "", "0", "65", "-1", "SIG", "SIGNONE", "RTMIN+31", "RTMAX-40", "RTMIN+-1",
        ] {
            assert!(text.parse::<StopSignal>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_program_is_bounded_and_can_be_executed() {
        let run =
            |argv: Vec<String>| RunSpec::new(argv, RestartPolicy::Always, StopSignal::TERM).is_ok();
        assert!(run(vec!["x".into(), String::new()]));
        assert!(!run(Vec::new()));
        assert!(!run(vec![String::new(), "x".into()]));
        assert!(!run(vec!["x".into(), "a\0b".into()]));
        assert!(!run(vec!["x".into(); 5000]));
        assert!(!run(vec!["x".repeat(70_000)]));
    }
}
