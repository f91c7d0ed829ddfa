//! Which daemons run that start something at a time.

use std::path::Path;

use super::files;

/// Processes that are looked at.
const MAX_PROCESSES: usize = 32 * 1024;
/// Longest file of `/proc/PID` that is read, in bytes.
const MAX_FILE: u64 = 128 * 1024;

/// A program that runs the lines of crontabs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cron {
    pub(crate) kind: Kind,
    /// Its `TZ`, which its time is then told by.
    pub(crate) zone: Option<String>,
}

/// The kinds of them, which differ in the files and the rules they go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Vixie's `cron`, as Debian has it.
    Cron,
    /// cronie's `crond`, as Fedora, SUSE and Arch have it.
    Crond,
    /// The `crond` of busybox, as Alpine has it.
    Busybox,
}

/// The daemons that run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Daemons {
    /// One of each kind at most.
    pub(crate) crons: Vec<Cron>,
    /// Whether `atd` runs.
    pub(crate) at: bool,
}

/// Finds them by the names of processes.
pub(crate) fn find(proc: &Path) -> Daemons {
    let mut found = Daemons::default();
    let processes = std::fs::read_dir(proc).into_iter().flatten().flatten();
    for process in processes.take(MAX_PROCESSES) {
        let name = process.file_name();
        if !name
            .as_encoded_bytes()
            .first()
            .is_some_and(u8::is_ascii_digit)
        {
            continue;
        }
        let dir = process.path();
        let Some(name) = files::text(&dir.join("comm"), MAX_FILE) else {
            continue;
        };
        let kind = match name.trim_end() {
            "cron" => Kind::Cron,
            "crond" if is_busybox(&dir) => Kind::Busybox,
            "crond" => Kind::Crond,
            "busybox" if applet(&dir).as_deref() == Some("crond") => Kind::Busybox,
            "atd" => {
                found.at = true;
                continue;
            }
            _ => continue,
        };
        // Its children, which run the commands, have its name for a moment.
        if found.crons.iter().all(|cron| cron.kind != kind) {
            let zone = zone(&dir);
            found.crons.push(Cron { kind, zone });
        }
    }
    found
}

/// Whether a process is busybox under one of its other names.
fn is_busybox(process: &Path) -> bool {
    std::fs::read_link(process.join("exe")).is_ok_and(|program| {
        let name = program.file_name().unwrap_or_default();
        name.as_encoded_bytes().starts_with(b"busybox")
    })
}

/// What busybox was told to be.
fn applet(process: &Path) -> Option<String> {
    let line = files::text(&process.join("cmdline"), MAX_FILE)?;
    line.split('\0').nth(1).map(str::to_owned)
}

fn zone(process: &Path) -> Option<String> {
    let environment = files::text(&process.join("environ"), MAX_FILE)?;
    let zone = environment
        .split('\0')
        .find_map(|variable| variable.strip_prefix("TZ="))?;
    (!zone.is_empty()).then(|| zone.to_owned())
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::{Cron, Daemons, Kind, find};

    fn process(proc: &Path, pid: &str, comm: &str, exe: &str, cmdline: &str, environ: &str) {
        let dir = proc.join(pid);
        fs_err::create_dir_all(&dir).unwrap();
        fs_err::write(dir.join("comm"), format!("{comm}\n")).unwrap();
        fs_err::write(dir.join("cmdline"), cmdline).unwrap();
        fs_err::write(dir.join("environ"), environ).unwrap();
        fs_err::os::unix::fs::symlink(exe, dir.join("exe")).unwrap();
    }

    #[test]
    fn daemons_are_told_from_each_other_and_from_what_has_a_name_like_theirs() {
        let dir = tempfile::tempdir().unwrap();
        let proc = dir.path();
        assert_eq!(find(&proc.join("none")), Daemons::default());
        process(
            proc,
            "7",
            "crontab",
            "/usr/bin/crontab",
            "crontab\0-e\0",
            "",
        );
        process(
            proc,
            "8",
            "busybox",
            "/bin/busybox",
            "busybox\0sh\0crond\0",
            "",
        );
        process(proc, "self", "cron", "/usr/sbin/cron", "cron\0", "");
        assert_eq!(find(proc), Daemons::default());

        process(
            proc,
            "9",
            "busybox",
            "/bin/busybox",
            "busybox\0crond\0-f\0",
            "",
        );
        let cron = |kind| Cron { kind, zone: None };
        assert_eq!(find(proc).crons, [cron(Kind::Busybox)]);
        process(proc, "10", "crond", "/bin/busybox.nosuid", "crond\0", "");
        assert_eq!(find(proc).crons, [cron(Kind::Busybox)]);

        process(
            proc,
            "11",
            "cron",
            "/usr/sbin/cron",
            "cron\0-f\0",
            "A=TZ=1\0TZ=:Asia/Tokyo\0",
        );
        process(proc, "12", "crond", "/usr/sbin/crond", "crond\0", "TZ=\0");
        process(proc, "13", "atd", "/usr/sbin/atd", "atd\0", "");
        let found = find(proc);
        assert!(found.at);
        assert_eq!(found.crons.len(), 3);
        assert!(found.crons.contains(&cron(Kind::Crond)));
        let debian = Cron {
            kind: Kind::Cron,
            zone: Some(":Asia/Tokyo".to_owned()),
        };
        assert!(found.crons.contains(&debian));
    }
}
