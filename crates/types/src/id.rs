//! Identifiers: a short prefix that says the kind, then random hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal, $digits:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// What every id of this kind begins with.
            pub const PREFIX: &'static str = $prefix;

            /// Makes a new id from the operating system's randomness.
            ///
            /// # Panics
            /// If the operating system has no randomness to give, which Linux does not do once
            /// it has booted.
            pub fn random() -> Self {
                let mut bytes = [0u8; $digits / 2];
                getrandom::fill(&mut bytes).expect("the kernel's random generator is initialised");
                Self(format!("{}{}", $prefix, hex(&bytes)))
            }

            /// The id as text.
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
                let digits = text.strip_prefix($prefix).unwrap_or_default();
                let well_formed = digits.len() == $digits
                    && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                if well_formed {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Invalid::new(
                        $what,
                        text,
                        concat!("must be `", $prefix, "` and ", $digits, " hexadecimal digits"),
                    ))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id_type!(
    /// Names one sandbox for its whole life; never used again.
    SandboxId, "sbx_", "sandbox id", 16
);
id_type!(
    /// Names one user.
    UserId, "usr_", "user id", 8
);
id_type!(
    /// Names one checkpoint.
    SnapshotId, "snp_", "snapshot id", 16
);
id_type!(
    /// Names one volume for its whole life; never used again.
    VolumeId, "vol_", "volume id", 16
);

id_type!(
    /// Names one backup of a volume.
    BackupId, "bak_", "backup id", 16
);

id_type!(
    /// Names one image.
    ImageId, "img_", "image id", 16
);
id_type!(
    /// Names one template by the digest of what it was made of: two that would be alike have the
    /// same.
    TemplateId, "tpl_", "template id", 16
);
id_type!(
    /// Names one data directory, so that what a daemon made on a host can be told from what
    /// another made (invariant 5 of the design).
    DataDirId, "dat_", "data directory id", 16
);
id_type!(
    /// Names one piece of work that the daemon does longer than a request lasts.
    TaskId, "tsk_", "task id", 16
);
id_type!(
    /// Names one API request in replies and in the log.
    RequestId, "req_", "request id", 16
);

impl TemplateId {
    /// The id of a template made of what has this digest: its first 64 bits.
    pub fn of_digest(digest: &[u8; 32]) -> Self {
        Self(format!("{}{}", Self::PREFIX, hex(&digest[..8])))
    }
}

/// Writes bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod test {
    use super::{SandboxId, TemplateId, UserId};

    #[test]
    fn a_random_id_parses_as_itself() {
        let id = SandboxId::random();
        assert_eq!(id.as_str().parse::<SandboxId>().unwrap(), id);
    }

    #[test]
    fn a_templates_id_parses_as_itself() {
        let id = TemplateId::of_digest(&[0xfe; 32]);
        assert_eq!(id.as_str(), "tpl_fefefefefefefefe");
        assert_eq!(id.as_str().parse::<TemplateId>().unwrap(), id);
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        assert!(UserId::random().as_str().parse::<SandboxId>().is_err());
        assert!("sbx_../../../etc/pass".parse::<SandboxId>().is_err());
        assert!("sbx_ABCDEF0123456789".parse::<SandboxId>().is_err());
    }
}
