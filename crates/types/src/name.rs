//! Names that people give to things.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use crate::image_name::ImageName;
use crate::invalid::Invalid;

/// Longest name, in bytes: a DNS label, so that every name can be a host name.
pub const MAX_NAME: usize = 63;

/// Checks `[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}`, the original's rule for every kind of name.
pub(crate) fn check(what: &'static str, text: &str) -> Result<(), Invalid> {
    let refuse = |reason: &str| Err(Invalid::new(what, text, reason));
    if text.is_empty() {
        return refuse("must not be empty");
    }
    if text.len() > MAX_NAME {
        return refuse("must be at most 63 characters");
    }
    if !text.as_bytes()[0].is_ascii_alphanumeric() {
        return refuse("must begin with a letter or a digit");
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if !text.bytes().all(allowed) {
        return refuse("may hold only letters, digits, `.`, `_` and `-`");
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                check($what, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name_type!(
    /// The name of a sandbox, unique among one user's live sandboxes.
    SandboxName, "sandbox name"
);
name_type!(
    /// The name of a checkpoint, unique among one user's checkpoints.
    SnapshotName, "snapshot name"
);
name_type!(
    /// The name of a volume, unique among one user's volumes.
    VolumeName, "volume name"
);

name_type!(
    /// The name of a user, unique on a host.
    UserName, "user name"
);

#[cfg(test)]
mod test {
    use super::SandboxName;

    #[test]
    fn names_of_the_original_are_taken() {
        for text in ["a", "pr-247", "Dev_1.2", &"x".repeat(63)] {
            assert_eq!(text.parse::<SandboxName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn names_that_could_mislead_a_path_or_a_host_are_refused() {
        for text in [
            "",
            "-a",
            ".",
            "..",
            "a/b",
            "a b",
            "ä",
            "a\0",
            "a\n",
            &"x".repeat(64),
        ] {
            assert!(text.parse::<SandboxName>().is_err(), "{text:?}");
        }
    }
}
