//! Credentials: what opens a registry.

use std::fmt;
use std::str::FromStr;

use bhatti_types::invalid::Invalid;
use serde::{Deserialize, Serialize};

/// Longest name, password or token, in bytes. Tokens of cloud providers come to some KiB.
const MAX_SECRET: usize = 64 << 10;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. Never log it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What opens a registry. It is sent to that registry and to the token server that it names, and
/// to no host that either redirects to.
///
/// As JSON, it goes from the command line, which reads the user's files, to the daemon, which
/// keeps it no longer than the request lasts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Credentials {
    /// Name and password, or name and access token.
    Password {
        /// The name.
        user: String,
        /// The password.
        secret: Secret,
    },
    /// A token that is exchanged for others (OAuth 2 refresh token), as `docker login` keeps it
    /// for some registries.
    Identity {
        /// The token.
        secret: Secret,
    },
    /// A token that is sent as it is.
    Bearer {
        /// The token.
        secret: Secret,
    },
}

impl Credentials {
    /// Refuses what cannot be sent in a header, or is no secret by its size.
    pub fn check(&self) -> Result<(), Invalid> {
        // The values are left out of the message: they are secrets.
        let wrong = |what, reason: &str| Err(Invalid::new(what, "", reason));
        let (user, secret) = match self {
            Self::Password { user, secret } => (user.as_str(), secret),
            Self::Identity { secret } | Self::Bearer { secret } => ("", secret),
        };
        if user.contains(':') {
            return wrong("user name", "may hold no `:`");
        }
        for text in [user, secret.reveal()] {
            if text.len() > MAX_SECRET || text.contains(|c: char| c.is_control()) {
                return wrong(
                    "credentials",
                    "may hold no control characters and at most 64 KiB",
                );
            }
        }
        if secret.reveal().is_empty() {
            return wrong("credentials", "must not be empty");
        }
        Ok(())
    }
}

impl FromStr for Credentials {
    type Err = Invalid;

    /// Reads `USER:PASSWORD`, as `--auth` takes it.
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((user, secret)) = text.split_once(':') else {
            return Err(Invalid::new("credentials", "", "must be USER:TOKEN"));
        };
        let credentials = Self::Password {
            user: user.to_owned(),
            secret: Secret::new(secret),
        };
        credentials.check()?;
        Ok(credentials)
    }
}

#[cfg(test)]
mod test {
    use super::Credentials;

    #[test]
    fn a_password_may_hold_colons_and_is_not_shown() {
        let credentials: Credentials = "me:s3:cret".parse().unwrap();
        let Credentials::Password { user, secret } = &credentials else {
            panic!("{credentials:?}");
        };
        assert_eq!((user.as_str(), secret.reveal()), ("me", "s3:cret"));
        assert!(!format!("{credentials:?}").contains("s3"));
    }

    #[test]
    fn what_would_be_another_header_is_refused_and_not_repeated() {
        for text in ["hunter2", "me:", "me:hunter2\r\nX: y", "m\ne:hunter2"] {
            let error = text.parse::<Credentials>().unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
