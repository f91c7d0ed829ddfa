//! The one place where the process's environment is read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::env;

/// The variables of [`crate::env`], as they were when the process began. An empty one counts as
/// not set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    values: BTreeMap<&'static str, String>,
}

impl Environment {
    /// Takes the process's environment. Values that are not UTF-8 are taken with the bad bytes
    /// replaced: no value of ours has such bytes, so the message about it will show them.
    pub(crate) fn read() -> Self {
        let values = env::VARIABLES
            .iter()
            .filter_map(|variable| {
                let value = std::env::var_os(variable.name)?;
                Some((variable.name, value.to_string_lossy().into_owned()))
            })
            .filter(|(_, value)| !value.is_empty())
            .collect();
        Self { values }
    }

    /// A variable, if it is set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The user's home directory.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.get(env::HOME).map(PathBuf::from)
    }

    /// Whether the environment is against colour and moving lines.
    pub(crate) fn plain(&self) -> bool {
        self.get(env::NO_COLOR).is_some() || self.get(env::TERM) == Some("dumb")
    }

    #[cfg(test)]
    pub(crate) fn of(values: &[(&'static str, &str)]) -> Self {
        Self {
            values: values
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect(),
        }
    }
}
