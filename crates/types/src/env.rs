//! Environment variables of commands and sandboxes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// Most variables in one set.
pub const MAX_VARS: usize = 256;
/// Longest value, in bytes: what Linux takes as one argument string (`MAX_ARG_STRLEN`).
pub const MAX_VALUE: usize = 128 * 1024;

/// A checked set of environment variables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    /// Checks a set of variables: names are not empty and hold neither `=` nor NUL, values hold
    /// no NUL.
    pub fn new(vars: BTreeMap<String, String>) -> Result<Self, Invalid> {
        if vars.len() > MAX_VARS {
            return Err(Invalid::new(
                "environment",
                &vars.len().to_string(),
                "at most 256 variables",
            ));
        }
        for (name, value) in &vars {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(Invalid::new(
                    "environment variable name",
                    name,
                    "must not be empty and may hold neither `=` nor NUL",
                ));
            }
            if value.contains('\0') || value.len() > MAX_VALUE {
                return Err(Invalid::new(
                    "environment variable value",
                    value,
                    "may hold no NUL and at most 128 KiB",
                ));
            }
        }
        Ok(Self(vars))
    }

    /// The variables as a map.
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// These variables with those of `over` put over them.
    pub fn overlaid(&self, over: &Self) -> Self {
        let mut vars = self.0.clone();
        vars.extend(over.0.clone());
        Self(vars)
    }
}

impl TryFrom<BTreeMap<String, String>> for Env {
    type Error = Invalid;

    fn try_from(vars: BTreeMap<String, String>) -> Result<Self, Invalid> {
        Self::new(vars)
    }
}

impl From<Env> for BTreeMap<String, String> {
    fn from(env: Env) -> Self {
        env.0
    }
}
