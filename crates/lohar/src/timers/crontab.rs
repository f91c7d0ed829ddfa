//! The lines of crontabs.

use super::schedule::{Dialect, Schedule};

/// Fields of a schedule.
const FIELDS: usize = 5;

/// Whose table it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    /// The system's: each line names its user.
    System,
    /// This user's.
    User(&'a str),
}

/// One line that means something here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// `CRON_TZ`: the zone of the lines that follow; the daemon's own if empty.
    Zone(&'a str),
    /// Something to run.
    Entry(Entry<'a>),
}

/// Something to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) schedule: Schedule,
    /// The schedule as it stands there.
    fields: Vec<&'a str>,
    user: &'a str,
}

impl Entry<'_> {
    /// What it is, without its command, which may hold a secret.
    pub(crate) fn what(&self) -> String {
        format!("cron {}: {}", self.user, self.fields.join(" "))
    }
}

/// The lines of a table that mean something. What cannot be read is passed over, as the daemon
/// does too, or it takes none of the table.
pub(crate) fn lines<'a>(
    text: &'a str,
    owner: Owner<'a>,
    dialect: Dialect,
) -> impl Iterator<Item = Line<'a>> {
    text.lines()
        .filter_map(move |line| parse(line, owner, dialect))
}

fn parse<'a>(line: &'a str, owner: Owner<'a>, dialect: Dialect) -> Option<Line<'a>> {
    let line = line.trim_start();
    match line.bytes().next()? {
        b'#' => None,
        b'@' => named(line, owner, dialect).map(Line::Entry),
        b'0'..=b'9' | b'*' | b'~' => entry(line, owner, dialect).map(Line::Entry),
        // cronie, and SUSE before: not to be logged.
        b'-' => entry(&line[1..], owner, dialect).map(Line::Entry),
        _ => variable(line),
    }
}

fn entry<'a>(line: &'a str, owner: Owner<'a>, dialect: Dialect) -> Option<Entry<'a>> {
    let mut words = line.split_ascii_whitespace();
    let fields: Vec<&str> = words.by_ref().take(FIELDS).collect();
    let schedule = Schedule::parse(fields.as_slice().try_into().ok()?, dialect)?;
    finish(schedule, fields, owner, words)
}

fn named<'a>(line: &'a str, owner: Owner<'a>, dialect: Dialect) -> Option<Entry<'a>> {
    let mut words = line.split_ascii_whitespace();
    let name = words.next()?;
    let schedule = Schedule::named(name, dialect)?;
    finish(schedule, vec![name], owner, words)
}

/// What follows a schedule: a user in the system's tables, and a command.
fn finish<'a>(
    schedule: Schedule,
    fields: Vec<&'a str>,
    owner: Owner<'a>,
    mut words: impl Iterator<Item = &'a str>,
) -> Option<Entry<'a>> {
    let user = match owner {
        Owner::System => words.next()?,
        Owner::User(name) => name,
    };
    words.next()?;
    Some(Entry {
        schedule,
        fields,
        user,
    })
}

/// `NAME = value`, either of them in quotes or not.
fn variable(line: &str) -> Option<Line<'_>> {
    let (name, value) = line.split_once('=')?;
    (unquoted(name) == "CRON_TZ").then(|| Line::Zone(unquoted(value)))
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    ['"', '\'']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote))
        .unwrap_or(text)
}

#[cfg(test)]
mod test {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::{Line, Owner, lines};
    use crate::timers::schedule::Dialect;

    fn told(text: &str, owner: Owner<'_>) -> Vec<String> {
        lines(text, owner, Dialect::Vixie)
            .map(|line| match line {
                Line::Zone(name) => format!("zone {name}"),
                Line::Entry(entry) => entry.what(),
            })
            .collect()
    }

    #[test]
    fn a_system_table_names_a_user_in_each_line() {
        let text = "# m h dom mon dow user command\n\
                    SHELL=/bin/sh\n\
                    17 *\t* * *\troot\tcd / && run-parts /etc/cron.hourly\n\
                    \n\
                      47 6 * * 7 www-data  test -x /usr/sbin/anacron\n\
                    @daily backup /usr/bin/backup --password=secret\n\
                    @reboot root /usr/bin/first\n\
                    5 4 * * * root\n";
        assert_eq!(
            told(text, Owner::System),
            [
                "cron root: 17 * * * *",
                "cron www-data: 47 6 * * 7",
                "cron backup: @daily"
            ]
        );
    }

    #[test]
    fn a_users_table_does_not() {
        let text = "MAILTO=\"\"\n5 4 * * * true\n-6 5 * * * true\n@hourly true\n7 4 * * *\n";
        assert_eq!(
            told(text, Owner::User("app")),
            [
                "cron app: 5 4 * * *",
                "cron app: 6 5 * * *",
                "cron app: @hourly"
            ]
        );
    }

    #[test]
    fn a_zone_is_told_where_it_stands() {
        let text = "1 1 * * * a\nCRON_TZ=Asia/Tokyo\n2 2 * * * b\n\
                    'CRON_TZ' = \"UTC\"\nTZ=Europe/Paris\nCRON_TZ=\n";
        assert_eq!(
            told(text, Owner::User("u")),
            [
                "cron u: 1 1 * * *",
                "zone Asia/Tokyo",
                "cron u: 2 2 * * *",
                "zone UTC",
                "zone "
            ]
        );
    }

    #[test]
    fn a_bad_line_spoils_no_other() {
        let text = "61 * * * * true\n* * *\n1 2 3 4\n@often true\n\u{0}\u{1}=\u{7f}\nnonsense\n\
                    = \n\"\n' = '\n5 4 * * * true";
        assert_eq!(told(text, Owner::User("u")), ["cron u: 5 4 * * *"]);
    }

    proptest! {
        #[test]
        fn no_text_does_harm(
            text in "([ \t\n@*/,~#=0-9a-z-]|CRON_TZ|\\PC){0,200}",
            busybox: bool,
        ) {
            let dialect = if busybox { Dialect::Busybox } else { Dialect::Vixie };
            for owner in [Owner::System, Owner::User("u")] {
                for line in lines(&text, owner, dialect) {
                    if let Line::Entry(entry) = line {
                        let from = date(2026, 1, 1).at(0, 0, 0, 0);
                        entry.schedule.next_from(from, date(2031, 1, 1));
                        prop_assert!(entry.what().starts_with("cron "));
                    }
                }
            }
        }
    }
}
