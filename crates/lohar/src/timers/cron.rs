//! The tables of the cron daemons that run.

use std::path::Path;

use jiff::tz::TimeZone;

use super::crontab::{self, Entry, Line, Owner};
use super::daemons::{Cron, Kind};
use super::files;
use super::found::{Found, Moment};
use super::schedule::Dialect;
use super::search;
use super::zone::Zones;

/// Longest table that is read, in bytes.
const MAX_TABLE: u64 = 256 * 1024;
/// Lines that are taken from one daemon's tables.
const MAX_LINES: usize = 16 * 1024;
/// The system's table, and the directory of tables that packages bring.
const SYSTEM: (&str, &str) = ("etc/crontab", "etc/cron.d");
/// Where users' tables are: Debian's, Alpine's; then also Fedora's and Arch's, and SUSE's.
const CRONTABS: &str = "var/spool/cron/crontabs";
const CROND_SPOOLS: [&str; 3] = [CRONTABS, "var/spool/cron", "var/spool/cron/tabs"];

impl Kind {
    const fn dialect(self) -> Dialect {
        match self {
            Self::Cron | Self::Crond => Dialect::Vixie,
            Self::Busybox => Dialect::Busybox,
        }
    }

    const fn has_system_tables(self) -> bool {
        match self {
            Self::Cron | Self::Crond => true,
            Self::Busybox => false,
        }
    }

    const fn spools(self) -> &'static [&'static str] {
        match self {
            Self::Cron | Self::Busybox => &[CRONTABS],
            Self::Crond => &CROND_SPOOLS,
        }
    }

    /// Whether it takes a file of this name in `/etc/cron.d`.
    fn takes(self, name: &str) -> bool {
        match self {
            Self::Cron => name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-".contains(c)),
            Self::Crond | Self::Busybox => {
                let left_over = ["~", ".rpmsave", ".rpmorig", ".rpmnew"];
                !name.starts_with(['.', '#']) && !left_over.iter().any(|end| name.ends_with(end))
            }
        }
    }
}

/// Looks for the first line of a daemon's tables that runs in the future.
pub(crate) fn look(root: &Path, cron: &Cron, found: &mut Found) {
    let zones = Zones::new(root);
    let named = cron.zone.as_deref().and_then(|name| zones.named(name));
    let mut tables = Tables {
        kind: cron.kind,
        zone: named.unwrap_or_else(|| zones.local()),
        zones,
        lines_left: MAX_LINES,
        found,
    };
    if cron.kind.has_system_tables() {
        let (table, dir) = SYSTEM;
        tables.look(&root.join(table), Owner::System);
        let dir = root.join(dir);
        for name in files::names(&dir).filter(|name| cron.kind.takes(name)) {
            tables.look(&dir.join(name), Owner::System);
        }
    }
    for dir in cron.kind.spools().iter().map(|dir| root.join(dir)) {
        // "tmp.…" is one that is being edited.
        let whole = |name: &String| !name.starts_with('.') && !name.starts_with("tmp.");
        for name in files::names(&dir).filter(whole) {
            tables.look(&dir.join(&name), Owner::User(&name));
        }
    }
}

struct Tables<'a> {
    kind: Kind,
    /// The daemon's own.
    zone: TimeZone,
    zones: Zones,
    lines_left: usize,
    found: &'a mut Found,
}

impl Tables<'_> {
    fn look(&mut self, path: &Path, owner: Owner<'_>) {
        if self.found.is_over() {
            return;
        }
        let Some(text) = files::text(path, MAX_TABLE) else {
            return;
        };
        let mut zone = None;
        for line in crontab::lines(&text, owner, self.kind.dialect()) {
            if self.lines_left == 0 || self.found.is_over() {
                return;
            }
            self.lines_left -= 1;
            match line {
                Line::Zone(name) => zone = self.zones.named(name),
                Line::Entry(entry) => self.consider(&entry, zone.as_ref()),
            }
        }
    }

    /// `zone` is that of the line's `CRON_TZ`, if it has one.
    fn consider(&mut self, entry: &Entry<'_>, zone: Option<&TimeZone>) {
        let own = &self.zone;
        let zones = match (self.kind, zone) {
            (_, None) | (Kind::Busybox, _) => [Some(own), None],
            (Kind::Crond, Some(zone)) => [Some(zone), None],
            // Debian's own (3.0pl1) does not know the variable, others of the name may.
            (Kind::Cron, Some(zone)) => [Some(own), Some(zone)],
        };
        for zone in zones.into_iter().flatten() {
            let (now, limit) = (self.found.now(), self.found.limit());
            if let Some(at) = search::next(&entry.schedule, zone, now, limit) {
                self.found.add(Moment::new(at, entry.what()));
            }
        }
    }
}

#[cfg(test)]
mod test {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use jiff::Timestamp;

    use super::super::daemons::{Cron, Kind};
    use super::super::found::Found;
    use super::look;

    const NOW: &str = "2026-11-24T12:00:00Z";

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// What comes first, and when.
    fn first(root: &Path, kind: Kind, zone: Option<&str>) -> (String, String) {
        let now: Timestamp = NOW.parse().unwrap();
        let mut found = Found::new(now, Instant::now() + Duration::from_mins(1));
        let zone = zone.map(str::to_owned);
        look(root, &Cron { kind, zone }, &mut found);
        match found.first() {
            Some(first) => (first.what, first.at.to_string()),
            None => (String::new(), String::new()),
        }
    }

    #[track_caller]
    fn check(root: &Path, kind: Kind, what: &str, at: &str) {
        assert_eq!(first(root, kind, None), (what.to_owned(), at.to_owned()));
    }

    #[test]
    fn each_daemon_reads_its_own_tables() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for kind in [Kind::Cron, Kind::Crond, Kind::Busybox] {
            check(root, kind, "", "");
        }
        write(root, "var/spool/cron/crontabs/app", "50 12 * * * true\n");
        for kind in [Kind::Cron, Kind::Crond, Kind::Busybox] {
            check(root, kind, "cron app: 50 12 * * *", "2026-11-24T12:50:00Z");
        }
        write(root, "etc/crontab", "40 12 * * * root true\n");
        for kind in [Kind::Cron, Kind::Crond] {
            check(root, kind, "cron root: 40 12 * * *", "2026-11-24T12:40:00Z");
        }
        check(
            root,
            Kind::Busybox,
            "cron app: 50 12 * * *",
            "2026-11-24T12:50:00Z",
        );
        write(root, "etc/cron.d/job", "30 12 * * * www true\n");
        check(
            root,
            Kind::Cron,
            "cron www: 30 12 * * *",
            "2026-11-24T12:30:00Z",
        );
        write(root, "var/spool/cron/web", "20 12 * * * true\n");
        check(
            root,
            Kind::Crond,
            "cron web: 20 12 * * *",
            "2026-11-24T12:20:00Z",
        );
        check(
            root,
            Kind::Cron,
            "cron www: 30 12 * * *",
            "2026-11-24T12:30:00Z",
        );
        write(root, "var/spool/cron/tabs/db", "10 12 * * * true\n");
        check(
            root,
            Kind::Crond,
            "cron db: 10 12 * * *",
            "2026-11-24T12:10:00Z",
        );
    }

    #[test]
    fn tables_that_were_put_aside_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for name in [".hidden", "job~", "job.rpmsave", "#job#"] {
            write(
                root,
                &format!("etc/cron.d/{name}"),
                "1 13 * * * root true\n",
            );
        }
        write(
            root,
            "var/spool/cron/crontabs/tmp.XcQ1",
            "2 13 * * * true\n",
        );
        for kind in [Kind::Cron, Kind::Crond] {
            check(root, kind, "", "");
        }
        write(root, "etc/cron.d/job.disabled", "3 13 * * * root true\n");
        check(root, Kind::Cron, "", "");
        check(
            root,
            Kind::Crond,
            "cron root: 3 13 * * *",
            "2026-11-24T13:03:00Z",
        );
    }

    #[test]
    fn a_zone_of_the_daemons_or_of_the_tables_counts_where_the_daemon_knows_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "etc/crontab", "0 14 * * * root true\n");
        let at = |kind, zone| first(root, kind, zone).1;
        assert_eq!(at(Kind::Cron, None), "2026-11-24T14:00:00Z");
        assert_eq!(at(Kind::Cron, Some("WEST2")), "2026-11-24T16:00:00Z");
        assert_eq!(at(Kind::Cron, Some("no zone")), "2026-11-24T14:00:00Z");

        let text = "CRON_TZ=WEST2\n0 14 * * * root true\n";
        write(root, "etc/crontab", text);
        assert_eq!(at(Kind::Crond, None), "2026-11-24T16:00:00Z");
        assert_eq!(at(Kind::Crond, Some("WEST3")), "2026-11-24T16:00:00Z");
        assert_eq!(at(Kind::Cron, None), "2026-11-24T14:00:00Z");
        write(root, "etc/crontab", &text.replace("WEST2", "EAST-1"));
        assert_eq!(at(Kind::Cron, None), "2026-11-24T13:00:00Z");
        write(root, "etc/crontab", &text.replace("WEST2", ""));
        assert_eq!(at(Kind::Crond, None), "2026-11-24T14:00:00Z");
    }

    #[test]
    fn neither_giants_nor_nonsense_keep_the_rest_from_being_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(
            root,
            "etc/crontab",
            &"1 13 * * * root true\n".repeat(20_000),
        );
        write(
            root,
            "etc/cron.d/nonsense",
            "\u{0}\n*\n* * *\n5/ * * * * root x\n",
        );
        fs_err::create_dir_all(root.join("etc/cron.d/directory")).unwrap();
        write(root, "etc/cron.d/good", "* *\nX=\n5 13 * * * root true\n");
        check(
            root,
            Kind::Cron,
            "cron root: 5 13 * * *",
            "2026-11-24T13:05:00Z",
        );
    }

    #[test]
    fn a_search_whose_time_is_up_ends() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "etc/crontab", "1 13 * * * root true\n");
        let mut found = Found::new(NOW.parse().unwrap(), Instant::now());
        let kind = Kind::Cron;
        look(dir.path(), &Cron { kind, zone: None }, &mut found);
        assert_eq!(found.first(), None);
    }
}
