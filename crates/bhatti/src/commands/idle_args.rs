//! The flags about idling, which several commands have.

use bhatti_types::idle::IdleTime;
use clap::Args;

use crate::values;

/// What is set about idling.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "When idle")]
pub(crate) struct IdleArgs {
    /// Never pause it for idleness, and wake it when the daemon starts
    #[arg(long, overrides_with = "allow_cold")]
    keep_hot: bool,
    /// Take --keep-hot back
    #[arg(long)]
    allow_cold: bool,
    /// Time without use until it is paused: 30s, 5m, never [default: the user's or the host's]
    #[arg(long, value_name = "TIME", value_parser = idle_time)]
    idle_pause: Option<String>,
    /// Time from the pause until it goes to disk: 30m, 2h, never [default: the same]
    #[arg(long, value_name = "TIME", value_parser = idle_time)]
    idle_cold: Option<String>,
    /// Count it as used while it takes more than this share of a core, in per cent; 0 for never
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    busy_cpu: Option<u8>,
    /// Wake it for timers of its guest: systemd, cron, at
    #[arg(long, overrides_with = "no_wake_timers")]
    wake_timers: bool,
    /// Take --wake-timers back
    #[arg(long)]
    no_wake_timers: bool,
}

/// The flags as the API's fields.
pub(crate) struct IdleFields {
    pub(crate) keep_hot: Option<bool>,
    pub(crate) idle_pause: Option<String>,
    pub(crate) idle_cold: Option<String>,
    pub(crate) busy_cpu: Option<u8>,
    pub(crate) wake_timers: Option<bool>,
}

impl IdleArgs {
    /// The flags as the API's fields.
    pub(crate) fn fields(self) -> IdleFields {
        let switch = |on: bool, off: bool| match (on, off) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        };
        IdleFields {
            keep_hot: switch(self.keep_hot, self.allow_cold),
            idle_pause: self.idle_pause,
            idle_cold: self.idle_cold,
            busy_cpu: self.busy_cpu,
            wake_timers: switch(self.wake_timers, self.no_wake_timers),
        }
    }
}

/// Reads an idle time, or `default`.
fn idle_time(text: &str) -> Result<String, String> {
    if text != "default" {
        values::name::<IdleTime>(text)?;
    }
    Ok(text.to_owned())
}

/// Reads a time to wait, in whole seconds.
pub(crate) fn wait(text: &str) -> Result<u64, String> {
    match values::name::<IdleTime>(text)? {
        IdleTime::After(time) => Ok(time.as_secs()),
        IdleTime::Never => Err("must be a time, such as `60s`".to_owned()),
    }
}
