//! Labels: a user's own words on a sandbox, for finding a group of them again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// Most labels one sandbox may carry.
pub const MAX_LABELS: usize = 16;
/// Longest label value, in bytes.
pub const MAX_VALUE: usize = 256;
/// Keys under this prefix are bhatti's own.
pub const RESERVED_PREFIX: &str = "bhatti.sh/";

/// Checked labels, in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Checks a set of labels.
    pub fn new(labels: BTreeMap<String, String>) -> Result<Self, Invalid> {
        if labels.len() > MAX_LABELS {
            return Err(Invalid::new(
                "labels",
                &labels.len().to_string(),
                "a sandbox has at most 16",
            ));
        }
        for (key, value) in &labels {
            check_key(key)?;
            check_value(value)?;
        }
        Ok(Self(labels))
    }

    /// The labels as a map.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Whether every label of `wanted` is here with the same value.
    pub fn matches(&self, wanted: &Self) -> bool {
        wanted
            .0
            .iter()
            .all(|(key, value)| self.0.get(key) == Some(value))
    }
}

impl TryFrom<BTreeMap<String, String>> for Labels {
    type Error = Invalid;

    fn try_from(labels: BTreeMap<String, String>) -> Result<Self, Invalid> {
        Self::new(labels)
    }
}

impl From<Labels> for BTreeMap<String, String> {
    fn from(labels: Labels) -> Self {
        labels.0
    }
}

/// One part of a key: begins and ends with a letter or digit, at most 63 characters.
fn is_key_part(part: &str) -> bool {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    part.len() <= 63
        && ends(part.bytes().next())
        && ends(part.bytes().last())
        && part
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

fn check_key(key: &str) -> Result<(), Invalid> {
    let refuse = |reason: &str| Err(Invalid::new("label key", key, reason));
    if key.starts_with(RESERVED_PREFIX) {
        return refuse("keys under `bhatti.sh/` are reserved");
    }
    let well_formed = match key.split_once('/') {
        Some((prefix, name)) => is_key_part(prefix) && is_key_part(name),
        None => is_key_part(key),
    };
    if !well_formed {
        return refuse("must be letters, digits, `.`, `_` and `-`, with at most one `prefix/`");
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), Invalid> {
    if value.len() > MAX_VALUE {
        return Err(Invalid::new(
            "label value",
            value,
            "must be at most 256 characters",
        ));
    }
    if !value
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    {
        return Err(Invalid::new(
            "label value",
            value,
            "may hold only letters, digits, `.`, `_` and `-`",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod test {
    use std::collections::BTreeMap;

    use super::Labels;

    fn labels(pairs: &[(&str, &str)]) -> Result<Labels, super::Invalid> {
        let map: BTreeMap<_, _> = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Labels::new(map)
    }

    #[test]
    fn keys_may_have_one_prefix() {
        assert!(labels(&[("pool", "workers"), ("example.com/tier", "")]).is_ok());
        assert!(labels(&[("a/b/c", "x")]).is_err());
        assert!(labels(&[("bhatti.sh/owner", "x")]).is_err());
        assert!(labels(&[("-a", "x")]).is_err());
        assert!(labels(&[("a", "x y")]).is_err());
    }

    #[test]
    fn a_filter_matches_when_all_of_it_is_there() {
        let all = labels(&[("a", "1"), ("b", "2")]).unwrap();
        assert!(all.matches(&labels(&[("a", "1")]).unwrap()));
        assert!(all.matches(&Labels::default()));
        assert!(!all.matches(&labels(&[("a", "2")]).unwrap()));
    }
}
