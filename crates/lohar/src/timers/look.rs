//! Looks everywhere.

use std::path::Path;
use std::time::{Duration, Instant};

use bhatti_proto::message::NextTimerReply;
use jiff::Timestamp;

use super::found::Found;
use super::{at, cron, daemons, systemd};
use crate::reaper::Reaper;

/// How long it may take in all.
pub(crate) const LIMIT: Duration = Duration::from_secs(3);
/// What asks systemd.
const SYSTEMCTL: &str = "systemctl";

/// The earliest that wants to run after `now`, of those whose daemons run, and what systemd was
/// asked for in vain.
///
/// Blocking, for [`LIMIT`] at most unless a disk hangs. What cannot be read is passed over.
pub(crate) fn look(
    root: &Path,
    now: Timestamp,
    reaper: &dyn Reaper,
) -> (NextTimerReply, Option<std::io::Error>) {
    let mut found = Found::new(now, Instant::now() + LIMIT);
    let running = daemons::find(&root.join("proc"));
    if running.at {
        at::look(root, &mut found);
    }
    for daemon in &running.crons {
        cron::look(root, daemon, &mut found);
    }
    let failed = systemd::look(root, SYSTEMCTL, reaper, &mut found).err();
    let reply = match found.first() {
        Some(first) => NextTimerReply {
            unix_nanos: u64::try_from(first.at.as_nanosecond()).ok(),
            what: first.what,
        },
        None => NextTimerReply::default(),
    };
    (reply, failed)
}

#[cfg(test)]
mod test {
    use bhatti_proto::message::NextTimerReply;

    use super::look;
    use crate::reaper::ThreadReaper;

    #[test]
    fn the_earliest_of_all_whose_daemons_run_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        let told = || {
            let now = "2026-11-24T19:00:00Z".parse().unwrap();
            let (reply, failed) = look(root, now, &ThreadReaper);
            assert!(failed.is_none(), "{failed:?}");
            reply
        };
        write("etc/crontab", "30 19 * * * root true\n");
        write("var/spool/cron/atjobs/a0000701c8a1d0", "");
        let job = root.join("var/spool/cron/atjobs/a0000701c8a1d0");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs_err::set_permissions(job, mode).unwrap();
        assert_eq!(told(), NextTimerReply::default());

        write("proc/20/comm", "atd\n");
        let at_eight = 1_795_550_400_000_000_000;
        assert_eq!(
            (told().unix_nanos, told().what),
            (Some(at_eight), "at job 7".into())
        );
        write("proc/21/comm", "cron\n");
        let half_an_hour = 1_800_000_000_000;
        assert_eq!(
            (told().unix_nanos, told().what),
            (
                Some(at_eight - half_an_hour),
                "cron root: 30 19 * * *".into()
            )
        );
    }
}
