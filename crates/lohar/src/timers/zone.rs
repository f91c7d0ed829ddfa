//! Time zones, as the guest's own files have them.

use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;

use super::files;

/// Longest file of a time zone, in bytes; the longest there is has 4 KiB.
const MAX_FILE: u64 = 64 * 1024;
/// Where the files are.
const ZONEINFO: &str = "usr/share/zoneinfo";

/// The time zones of a root directory.
#[derive(Debug)]
pub(crate) struct Zones {
    root: PathBuf,
}

impl Zones {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The guest's own; UTC if it has none, as for the C library.
    pub(crate) fn local(&self) -> TimeZone {
        file(&self.root.join("etc/localtime")).unwrap_or(TimeZone::UTC)
    }

    /// The one that a variable such as `TZ` names: a file's name or a rule of POSIX.
    pub(crate) fn named(&self, name: &str) -> Option<TimeZone> {
        let name = name.strip_prefix(':').unwrap_or(name);
        let plain = |c: char| c.is_ascii_alphanumeric() || "_+-/".contains(c);
        // Without a dot there is no way out of the directory but from the root.
        if !name.is_empty() && name.chars().all(plain) && !name.starts_with('/') {
            let file = file(&self.root.join(ZONEINFO).join(name));
            if file.is_some() {
                return file;
            }
        }
        TimeZone::posix(name).ok()
    }
}

fn file(path: &Path) -> Option<TimeZone> {
    TimeZone::tzif("", &files::bytes(path, MAX_FILE)?).ok()
}

#[cfg(test)]
mod test {
    use jiff::Timestamp;
    use jiff::tz::{TimeZone, offset};

    use super::Zones;

    /// A file of a zone five hours west of Greenwich, as `zic` writes it: no transitions, one
    /// type, and a rule (RFC 8536).
    const WEST: &[u8] =
        b"TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\
        \xff\xff\xb9\xb0\0\0EST\0\
        TZif2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\
        \xff\xff\xb9\xb0\0\0EST\0\nEST5\n";

    #[test]
    fn zones_come_from_the_guests_own_files() {
        let dir = tempfile::tempdir().unwrap();
        let zones = Zones::new(dir.path());
        assert_eq!(zones.local(), TimeZone::UTC);
        fs_err::create_dir_all(dir.path().join("etc")).unwrap();
        fs_err::create_dir_all(dir.path().join("usr/share/zoneinfo/America")).unwrap();
        fs_err::write(dir.path().join("etc/localtime"), WEST).unwrap();
        fs_err::write(dir.path().join("usr/share/zoneinfo/America/Lima"), WEST).unwrap();
        fs_err::write(dir.path().join("usr/share/zoneinfo/broken"), "TZif").unwrap();
        let offset_of = |zone: TimeZone| zone.to_offset(Timestamp::UNIX_EPOCH);
        assert_eq!(offset_of(zones.local()), offset(-5));
        for name in ["America/Lima", ":America/Lima", "EST5", "<-05>5"] {
            assert_eq!(zones.named(name).map(offset_of), Some(offset(-5)), "{name}");
        }
        for name in [
            "",
            "broken",
            "America/None",
            "America",
            "/etc/localtime",
            "../zoneinfo/America/Lima",
        ] {
            assert_eq!(zones.named(name), None, "{name}");
        }
    }
}
