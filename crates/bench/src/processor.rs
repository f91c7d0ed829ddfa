//! Processor time: what an operation costs the host, whoever does the work.
//!
//! A process's own time comes from its CPU clock (`clock_getcpuclockid(3)`), which counts
//! nanoseconds and threads that have ended, where `/proc/PID/stat` counts hundredths of a second.
//! What it has reaped stands only there, so an operation that ends a VMM is good to a hundredth
//! of a second; the mean over a row is better than that.

use std::time::Duration;

use bhatti_host::process;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use nix::time::ClockId;
use nix::unistd::Pid;

/// Whose time is counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Meter {
    /// A process and what it has reaped.
    daemon: Option<u32>,
    /// The machines that carry one of these marks.
    marks: Vec<String>,
    /// This process itself.
    own: bool,
    /// What this process has reaped.
    reaped: bool,
}

impl Meter {
    /// A daemon and its machines.
    pub(crate) fn daemon(pid: u32, mark: String) -> Self {
        Self {
            daemon: Some(pid),
            marks: vec![mark],
            ..Self::default()
        }
    }

    /// The same with the programs that this process runs and waits for.
    pub(crate) fn and_programs(&self) -> Self {
        Self {
            reaped: true,
            ..self.clone()
        }
    }

    /// This process, the programs it runs, and the machines it started.
    pub(crate) fn own(mark: String) -> Self {
        Self {
            marks: vec![mark],
            own: true,
            reaped: true,
            ..Self::default()
        }
    }

    /// The programs this process runs, and the machines that another daemon runs for them.
    pub(crate) fn programs(mark: String, daemon: Option<u32>) -> Self {
        Self {
            daemon,
            marks: vec![mark],
            reaped: true,
            ..Self::default()
        }
    }

    /// Time spent until the clock starts. This process's own is read last, so that reading the
    /// others is not counted. What can't be read counts as nothing.
    pub(crate) fn before(&self) -> Duration {
        let others = self.others();
        others + self.itself()
    }

    /// Time spent until the clock was stopped. This process's own is read first.
    pub(crate) fn after(&self) -> Duration {
        let itself = self.itself();
        itself + self.others()
    }

    fn others(&self) -> Duration {
        let mut total = Duration::ZERO;
        if let Some(pid) = self.daemon {
            total += of_process(pid) + reaped_by(pid);
        }
        for mark in &self.marks {
            let machines = process::find_by_argument(mark).unwrap_or_default();
            let times = machines.iter().map(|machine| of_process(machine.id.pid));
            total += times.sum::<Duration>();
        }
        total
    }

    fn itself(&self) -> Duration {
        let own = self.own.then(|| of_process(std::process::id()));
        let reaped = self.reaped.then(reaped_here);
        own.unwrap_or_default() + reaped.unwrap_or_default()
    }
}

fn of_process(pid: u32) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32));
    let time = clock.and_then(ClockId::now);
    time.map_or(Duration::ZERO, Duration::from)
}

fn reaped_by(pid: u32) -> Duration {
    let text = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let ticks = parse_reaped(&text).unwrap_or_default();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Fields 16 and 17 of `/proc/PID/stat`, counted from behind the program's name, which may hold
/// anything.
fn parse_reaped(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(13);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

fn reaped_here() -> Duration {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or(Duration::ZERO, |usage| {
        let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
        Duration::from_micros(micros.unsigned_abs())
    })
}

#[cfg(test)]
mod test {
    use std::time::{Duration, Instant};

    use super::{Meter, parse_reaped};

    #[test]
    fn work_of_this_process_is_counted() {
        let meter = Meter::own("no such machine".to_owned());
        let before = meter.before();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        // Whoever else wants the processor may have had a part of it.
        assert!(meter.after() > before);
    }

    #[test]
    fn the_time_of_reaped_children_is_read_behind_any_name() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194304 100 200 0 0 5 6 70 8 20 0 1 0 100 1 2";
        assert_eq!(parse_reaped(stat), Some(78));
        assert_eq!(parse_reaped(""), None);
    }
}
