//! Memory that is a process's own.

use anyhow::Context as _;

/// Memory that no other process shares, in bytes.
pub(crate) fn own_memory(pid: u32) -> anyhow::Result<f64> {
    let text = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    private(&text).context("no private memory in /proc/PID/smaps_rollup")
}

fn private(rollup: &str) -> Option<f64> {
    let kib = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        let kib = line.trim().strip_suffix("kB")?.trim();
        kib.parse::<f64>().ok()
    };
    Some((kib("Private_Clean:")? + kib("Private_Dirty:")?) * 1024.0)
}

#[cfg(test)]
mod test {
    use super::private;

    #[test]
    fn private_memory_is_what_is_clean_and_what_is_dirty() {
        let rollup = "55d-7ff ---p 00000000 00:00 0 [rollup]\nRss: 900 kB\n\
                      Private_Clean:         10 kB\nPrivate_Dirty:         30 kB\n";
        assert_eq!(private(rollup), Some(40.0 * 1024.0));
        assert_eq!(private(""), None);
    }
}
