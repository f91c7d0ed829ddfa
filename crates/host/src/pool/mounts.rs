//! The table of mounts.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// What is mounted in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The place.
    pub(super) point: PathBuf,
    /// The device's numbers.
    pub(super) device: Device,
}

/// The numbers of a block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) major: u32,
    pub(super) minor: u32,
}

/// What is mounted on a path that is canonical, the last of those over one another.
pub(super) fn on(path: &Path) -> io::Result<Option<Mount>> {
    let table = fs_err::read("/proc/self/mountinfo")?;
    Ok(parse(&table).into_iter().rfind(|mount| mount.point == path))
}

/// Reads `proc_pid_mountinfo(5)`: the third field is the device, the fifth the place. Paths have
/// spaces, tabs, line ends and backslashes written as three octal digits. A line that is not like
/// that is left out.
fn parse(table: &[u8]) -> Vec<Mount> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(line).collect()
}

fn line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    Some(Mount {
        device: Device {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        },
        point: OsString::from_vec(unescape(fields.nth(1)?)).into(),
    })
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = |digits: &[u8]| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        };
        if *first == b'\\'
            && let Some(byte) = after.get(..3).and_then(octal)
        {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod test {
    use std::path::Path;

    use super::{Device, on, parse};

    #[test]
    fn places_with_odd_names_are_read_and_odd_lines_left_out() {
        let table = b"\
21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
nonsense
42 21 7:12 / /data/my\\040machines\\134x/pool rw,noatime - xfs /dev/loop12 rw,discard
";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[1].point, Path::new("/data/my machines\\x/pool"));
        let device = Device {
            major: 7,
            minor: 12,
        };
        assert_eq!(mounts[1].device, device);
    }

    #[test]
    fn what_is_mounted_on_a_place_is_not_what_is_mounted_above_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(on(Path::new("/proc")).unwrap().is_some());
        assert!(on(dir.path()).unwrap().is_none());
    }
}
