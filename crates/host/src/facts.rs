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
    let text = fs_err::read_to_string("/proc/meminfo")?;
    parse_available(&text).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "no MemAvailable in /proc/meminfo",
        )
    })
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Space that may still be used on the file system of a path, in bytes.
pub fn available_disk(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Rate of the host's time stamp counter, in kHz, measured against the monotonic clock.
///
/// A guest under TCG reads the host's counter and hangs while calibrating it against emulated
/// timers, so it has to be told (`tsc_early_khz=`). `/proc/cpuinfo` rounds and may show the
/// current rather than the nominal frequency, so it is only the fallback where there is no
/// counter to measure. `None` where neither is there.
pub fn tsc_khz() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/cpuinfo").ok()?;
    parse_khz(&text)
}

fn parse_khz(cpuinfo: &str) -> Option<u64> {
    let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"))?;
    let mhz: f64 = line.split(':').nth(1)?.trim().parse().ok()?;
    (mhz > 0.0).then_some((mhz * 1000.0) as u64)
}

#[cfg(test)]
mod test {
    use super::{parse_available, parse_khz};

    #[test]
    fn the_kernels_tables_are_read() {
        let meminfo = "MemTotal:       24 kB\nMemAvailable:    20 kB\n";
        assert_eq!(parse_available(meminfo), Some(20 * 1024));
        assert_eq!(parse_available("MemTotal: 24 kB\n"), None);
        assert_eq!(
            parse_khz("model name\t: x\ncpu MHz\t\t: 2596.130\n"),
            Some(2_596_130)
        );
        assert_eq!(parse_khz(""), None);
    }
}
