//! What can be wrong with the configuration.

use std::io;
use std::path::PathBuf;

use crate::config::keys::KEYS;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file could not be read.
    #[error("failed to read the configuration file {}", path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A file is not YAML, or not a mapping of keys to values.
    #[error("{} is not a configuration file: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    /// A key that does not exist.
    #[error("unknown key `{key}` in {origin}")]
    UnknownKey { key: String, origin: String },
    /// A value that its key does not take.
    #[error("invalid value of `{key}` in {origin}: {reason}")]
    Invalid {
        key: String,
        origin: String,
        reason: String,
    },
    /// A value that a flag does not take.
    #[error("invalid value of {flag}: {reason}")]
    Flag { flag: String, reason: String },
    /// `~` is meant and nothing says where that is.
    #[error("HOME is not set")]
    NoHome,
}

impl ConfigError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownKey { .. } => {
                let names: Vec<_> = KEYS.iter().map(|key| key.name).collect();
                Some(format!("the keys are {}", names.join(", ")))
            }
            Self::Invalid { .. } => {
                Some("`bhatti config show` tells where each value comes from".to_owned())
            }
            Self::NoHome => Some("set HOME, or name the data directory with --data-dir".to_owned()),
            Self::Malformed { .. } => {
                Some("it holds lines of `key: value`, as in `listen: 127.0.0.1:8080`".to_owned())
            }
            Self::Unreadable { .. } | Self::Flag { .. } => None,
        }
    }
}
