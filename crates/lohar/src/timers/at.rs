//! The jobs of `at`, whose files' names say when they are due.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::files;
use super::found::{Found, Moment};

/// Where distributions have them: Debian and SUSE, Fedora, Arch.
const DIRS: [&str; 3] = ["var/spool/cron/atjobs", "var/spool/at", "var/spool/atd"];
/// The owner's execute bit, which `at` sets once the job is written whole.
const WHOLE: u32 = 0o100;

/// Looks for jobs that are due in the future.
pub(crate) fn look(root: &Path, found: &mut Found) {
    for dir in DIRS {
        let dir = root.join(dir);
        for name in files::names(&dir) {
            if found.is_over() {
                return;
            }
            let Some((job, at)) = parse(&name).filter(|(_, at)| found.is_news(*at)) else {
                continue;
            };
            let whole = std::fs::symlink_metadata(dir.join(&name))
                .is_ok_and(|file| file.is_file() && file.permissions().mode() & WHOLE != 0);
            if whole {
                found.add(Moment::new(at, format!("at job {job}")));
            }
        }
    }
}

/// The job's number and time in a name such as `a0000101c8a1d0`: its queue, five digits of the
/// number, eight of the minutes since 1970. A queue of `=` is that of the jobs that run.
fn parse(name: &str) -> Option<(u32, Timestamp)> {
    let (queue, digits) = name.split_at_checked(1)?;
    let hexadecimal = digits.len() == 13 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hexadecimal || !queue.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let (job, minutes) = digits.split_at(5);
    let job = u32::from_str_radix(job, 16).ok()?;
    let minutes = i64::from_str_radix(minutes, 16).ok()?;
    Some((job, Timestamp::from_second(minutes * 60).ok()?))
}

#[cfg(test)]
mod test {
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use jiff::Timestamp;

    use super::super::found::Found;
    use super::{look, parse};

    #[test]
    fn the_name_of_a_job_says_when_it_is_due() {
        let (job, at) = parse("a0000101c8a1d0").unwrap();
        assert_eq!((job, at.to_string().as_str()), (1, "2026-11-24T20:00:00Z"));
        assert_eq!(parse("Zfffff01c8a1d0").unwrap().0, 0xf_ffff);
        for name in [
            "",
            ".SEQ",
            "=0000101c8a1d0",
            "a0000101c8a1d",
            "a0000101c8a1d00",
            "a00001+1c8a1d0",
            "é0000101c8a1d0",
            "a0000101c8a1dé",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    fn job(dir: &Path, name: &str, mode: u32) {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        options.open(dir.join(name)).unwrap();
    }

    #[test]
    fn the_first_job_that_is_due_later_is_found() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("var/spool/cron/atjobs");
        fs_err::create_dir_all(&dir).unwrap();
        job(&dir, "a0000101c8a1d0", 0o700);
        job(&dir, "a0001a01c8a200", 0o700);
        job(&dir, "b0001b01c8a1ff", 0o600);
        fs_err::create_dir(dir.join("a0001c01c8a1fe")).unwrap();
        fs_err::create_dir_all(root.path().join("var/spool/at")).unwrap();
        job(&root.path().join("var/spool/at"), "c0001d01c8a201", 0o700);
        let now: Timestamp = "2026-11-24T20:00:00Z".parse().unwrap();
        let mut found = Found::new(now, Instant::now() + Duration::from_mins(1));
        look(root.path(), &mut found);
        let first = found.first().unwrap();
        assert_eq!(first.what, "at job 26");
        assert_eq!(first.at.to_string(), "2026-11-24T20:48:00Z");
    }
}
