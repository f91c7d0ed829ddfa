//! What the host is and has.

use std::io;
use std::path::Path;

/// The kernel's id of this boot; changes with every boot.
pub fn boot_id() -> io::Result<String> {
    Ok(fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}

/// Memory that can be had without swapping, in bytes (`MemAvailable` of `proc(5)`).
pub fn available_memory() -> io::Result<u64> {
    memory("MemAvailable:")
}

/// All memory of the host, in bytes (`MemTotal` of `proc(5)`).
pub fn total_memory() -> io::Result<u64> {
    memory("MemTotal:")
}

fn memory(field: &str) -> io::Result<u64> {
    let text = fs_err::read_to_string("/proc/meminfo")?;
    parse_memory(&text, field).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("no {field} in /proc/meminfo"),
        )
    })
}

fn parse_memory(meminfo: &str, field: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Space that may still be used on the file system of a path, in bytes.
pub fn available_disk(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// How long the counter is watched; the clock is read to well under a microsecond, so this gives
/// the rate to about 20 parts in a million.
#[cfg(target_arch = "x86_64")]
const TSC_WATCH: std::time::Duration = std::time::Duration::from_millis(20);

/// Rate of the host's time stamp counter, in kHz, measured once against the monotonic clock.
/// Takes 20 ms the first time. `None` where there is no such counter.
///
/// A guest under TCG reads the host's counter and hangs while calibrating it against emulated
/// timers, so it has to be told (`tsc_early_khz=`). `/proc/cpuinfo` shows the current frequency of
/// a core, which is another thing.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "reading the counter is an intrinsic")]
#[expect(
    clippy::disallowed_methods,
    reason = "it is the passing of time that is measured"
)]
pub fn tsc_khz() -> Option<u64> {
    static KHZ: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    // SAFETY: every x86-64 processor has the instruction, and Linux lets processes use it.
    let read = || {
        (
            unsafe { core::arch::x86_64::_rdtsc() },
            std::time::Instant::now(),
        )
    };
    let khz = *KHZ.get_or_init(|| {
        let (first, began) = read();
        std::thread::sleep(TSC_WATCH);
        let (last, ended) = read();
        khz_of(last.saturating_sub(first), ended - began)
    });
    (khz > 0).then_some(khz)
}

/// Rate of the host's time stamp counter: it has none.
#[cfg(not(target_arch = "x86_64"))]
pub fn tsc_khz() -> Option<u64> {
    None
}

#[cfg(target_arch = "x86_64")]
fn khz_of(ticks: u64, time: std::time::Duration) -> u64 {
    (u128::from(ticks) * 1_000_000 / time.as_nanos().max(1)) as u64
}

#[cfg(test)]
mod test {
    use super::parse_memory;

    #[test]
    fn the_kernels_tables_are_read() {
        let meminfo = "MemTotal:       24 kB\nMemAvailable:    20 kB\n";
        assert_eq!(parse_memory(meminfo, "MemAvailable:"), Some(20 * 1024));
        assert_eq!(parse_memory("MemTotal: 24 kB\n", "MemAvailable:"), None);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_rate_is_ticks_over_time() {
        let time = std::time::Duration::from_millis(20);
        assert_eq!(super::khz_of(52_000_000, time), 2_600_000);
        let khz = super::tsc_khz().expect("this processor has a counter");
        assert!((100_000..20_000_000).contains(&khz), "{khz}");
    }
}
