//! What can go wrong between us and a registry.

use std::time::Duration;

use super::config::ConfigError;
use super::limits::MAX_ERROR_SHOWN;
use super::manifest::ManifestError;
use super::reference::Reference;

/// A registry did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is no such image there, or it is not for everybody to know.
    #[error("there is no image {reference}")]
    NotFound {
        /// What was asked for.
        reference: Box<Reference>,
    },
    /// A blob of an image is not there.
    #[error("the registry {registry} lacks {what}")]
    Lacks {
        /// The registry.
        registry: String,
        /// What is not there.
        what: String,
    },
    /// It wants other credentials, or any.
    #[error(
        "the registry {registry} refuses access to {repository}{}",
        reason(message)
    )]
    Denied {
        /// The registry.
        registry: String,
        /// The repository.
        repository: String,
        /// Whether credentials were given.
        authenticated: bool,
        /// What it says.
        message: String,
    },
    /// It wants us to ask later.
    #[error(
        "the registry {registry} takes no more requests for now{}",
        reason(message)
    )]
    Limited {
        /// The registry.
        registry: String,
        /// After what time, if it says so.
        retry_after: Option<Duration>,
        /// What it says.
        message: String,
    },
    /// It answered with an error.
    #[error("the registry {registry} answered {status}{}", reason(message))]
    Status {
        /// The registry, or a host it redirected to.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// What it says.
        message: String,
    },
    /// It could not be reached, or the connection broke.
    #[error("failed to reach the registry {registry}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// It stopped answering.
    #[error("the registry {registry} took longer than {} s", limit.as_secs())]
    Slow {
        /// The registry.
        registry: String,
        /// The time it had.
        limit: Duration,
    },
    /// It says what makes no sense.
    #[error("the registry {registry} does not keep to the protocol: {what}")]
    Protocol {
        /// The registry.
        registry: String,
        /// What it does.
        what: String,
    },
    /// What it sent is larger than is taken.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// What was sent.
        what: &'static str,
        /// How much is taken.
        limit: u64,
    },
    /// What it sent is not what was asked for.
    #[error("the registry {registry} sent {what} with another digest than {expected}")]
    Digest {
        /// The registry.
        registry: String,
        /// What was sent.
        what: &'static str,
        /// The digest it should have.
        expected: String,
    },
    /// The manifest cannot be used.
    #[error("the image {reference} cannot be used")]
    Manifest {
        /// The image.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: Box<ManifestError>,
    },
    /// The config cannot be used.
    #[error("the image {reference} cannot be used")]
    Config {
        /// The image.
        reference: Box<Reference>,
        /// Why.
        #[source]
        source: Box<ConfigError>,
    },
    /// A file to be sent could not be read.
    #[error("failed to read what is to be sent")]
    Read(#[source] std::io::Error),
}

impl RegistryError {
    /// Whether asking again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !source.is_builder() && !source.is_redirect(),
            Self::Slow { .. } | Self::Limited { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 500..=599),
            Self::NotFound { .. }
            | Self::Lacks { .. }
            | Self::Denied { .. }
            | Self::Protocol { .. }
            | Self::TooLarge { .. }
            | Self::Digest { .. }
            | Self::Manifest { .. }
            | Self::Config { .. }
            | Self::Read(_) => false,
        }
    }

    /// How long the registry wants us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What its reader may do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Denied {
                authenticated: false,
                ..
            } => Some("log in with `docker login`, or give `--auth USER:TOKEN`"),
            Self::Denied { .. } => Some("check the credentials and what they allow"),
            Self::NotFound { .. } => Some("check the name and tag; a private image needs `--auth`"),
            Self::Unreachable { source, .. } if speaks_plain_http(source) => {
                Some("it may speak plain HTTP; if you trust the network to it, give `--insecure`")
            }
            _ => None,
        }
    }
}

/// Whether a TLS handshake failed because the other side answered in clear text.
fn speaks_plain_http(error: &reqwest::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(rustls::Error::InvalidMessage(_)) = error.downcast_ref() {
            return true;
        }
        // An I/O error gives the source of what is in it as its own, and so hides that.
        let inner = error.downcast_ref::<std::io::Error>();
        next = match inner.and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    false
}

fn reason(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

/// What a registry says about an error, fit to be shown: short, in one line, without control
/// characters.
pub(super) fn shown(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Envelope {
        errors: Vec<Entry>,
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        #[serde(default)]
        message: Option<String>,
        #[serde(default)]
        code: Option<String>,
    }
    // Whatever else was sent, such as a page of HTML, says nothing to the reader.
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else {
        return String::new();
    };
    let entry = envelope.errors.into_iter().next();
    let text = entry.and_then(|entry| entry.message.filter(|text| !text.is_empty()).or(entry.code));
    text.unwrap_or_default()
        .chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .take(MAX_ERROR_SHOWN)
        .collect()
}

#[cfg(test)]
mod test {
    use super::shown;

    #[test]
    fn what_a_registry_says_is_made_fit_to_be_shown() {
        let body = r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m\nway"}]}"#;
        assert_eq!(shown(body.as_bytes()), "no [31m way");
        let code = br#"{"errors":[{"code":"DENIED"}]}"#;
        assert_eq!(shown(code), "DENIED");
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "é".repeat(1_000));
        assert_eq!(shown(long.as_bytes()).chars().count(), 200);
        for body in ["", "<html>", "{}", r#"{"errors":[]}"#, r#"{"errors":[{}]}"#] {
            assert_eq!(shown(body.as_bytes()), "");
        }
    }
}
