//! Where volumes are mounted, and how many there may be.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// Most volumes of one sandbox, as in the original.
pub const MAX_VOLUMES: usize = 24;

/// Longest path, in bytes.
const MAX_PATH: usize = 255;

/// Directories that a guest can't do without, the original's list.
const TAKEN: [&str; 15] = [
    "/",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/etc",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/usr",
    "/usr/local/bin",
    "/boot",
    "/root",
];

/// Directories in which the kernel shows itself: there is no place in them either.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// An absolute path in a guest, in its shortest form, at which a volume may be mounted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MountPath(String);

impl MountPath {
    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MountPath {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let refuse = |reason: &str| Err(Invalid::new("mount path", text, reason));
        if !text.starts_with('/') {
            return refuse("must be absolute");
        }
        if text.len() > MAX_PATH {
            return refuse("must be at most 255 bytes");
        }
        if text.chars().any(char::is_control) {
            return refuse("must not hold control characters");
        }
        let mut path = String::with_capacity(text.len());
        for part in text.split('/').filter(|part| !part.is_empty()) {
            if part == "." || part == ".." {
                return refuse("must not hold `.` or `..`");
            }
            path.push('/');
            path.push_str(part);
        }
        if path.is_empty() {
            path.push('/');
        }
        let is_in = |dir: &str| {
            let rest = path.strip_prefix(dir);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        if TAKEN.contains(&path.as_str()) || KERNELS.into_iter().any(is_in) {
            return refuse("is a directory that the system needs");
        }
        Ok(Self(path))
    }
}

impl TryFrom<String> for MountPath {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<MountPath> for String {
    fn from(path: MountPath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod test {
    use super::MountPath;

    #[test]
    fn paths_are_taken_in_their_shortest_form() {
        for (text, path) in [
            ("/data", "/data"),
            ("//var//lib/x/", "/var/lib/x"),
            ("/usr/local/share", "/usr/local/share"),
            ("/root/work", "/root/work"),
        ] {
            assert_eq!(text.parse::<MountPath>().unwrap().as_str(), path);
        }
    }

    #[test]
    fn paths_that_the_system_needs_or_that_lead_elsewhere_are_refused() {
        let long = format!("/{}", "x".repeat(255));
        for text in [
            "",
            "data",
            "/",
            "//",
            "/etc",
            "/etc/",
            "//usr",
            "/dev/pts",
            "/dev/x",
            "/proc/1",
            "/a/../etc",
            "/./a",
            "/a\nb",
            "/a\0",
            &long,
        ] {
            assert!(text.parse::<MountPath>().is_err(), "{text:?}");
        }
    }
}
