//! What can go wrong with a call.

use std::io;

use http::StatusCode;

use crate::endpoint::Endpoint;

/// A call that did not succeed.
///
/// `Display` is one line without its source; [`Error::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL of the daemon is not one.
    #[error("invalid URL {given:?}: {reason}")]
    Url {
        /// As given.
        given: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token cannot be sent.
    #[error("the token holds characters that no token has")]
    Token,
    /// Nothing answers at the unix socket.
    #[error("the daemon is not running: nothing answers at {endpoint}")]
    NotRunning {
        /// Where it was looked for.
        endpoint: Endpoint,
    },
    /// No connection came about.
    #[error("failed to connect to {endpoint}")]
    Connect {
        /// Where to.
        endpoint: Endpoint,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The host has no certificates to check a server's by.
    #[error("failed to read the certificate authorities of this host")]
    Authorities {
        /// The first thing that was wrong, if they were there at all.
        #[source]
        source: Option<rustls_native_certs::Error>,
    },
    /// The name in an `https` URL cannot stand in a certificate.
    #[error("{host:?} is not a host name that a certificate could be for")]
    ServerName {
        /// The name.
        host: String,
    },
    /// The connection broke before the answer was there.
    #[error("the connection to {endpoint} broke")]
    Broken {
        /// Where to.
        endpoint: Endpoint,
        /// What the HTTP layer said.
        #[source]
        source: hyper::Error,
    },
    /// The answer is longer than any of the API's.
    #[error("the answer of {endpoint} is too long")]
    TooLong {
        /// Where from.
        endpoint: Endpoint,
    },
    /// No answer in time.
    #[error("no answer from {endpoint} in {seconds} s")]
    Timeout {
        /// Where from.
        endpoint: Endpoint,
        /// The time it had, in seconds.
        seconds: u64,
    },
    /// The daemon said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The answer is not what the API sends.
    #[error("{endpoint} answered {what} that is not of bhatti's API")]
    Foreign {
        /// Where from.
        endpoint: Endpoint,
        /// What it answered, such as `GET /sandboxes`.
        what: &'static str,
        /// What does not fit.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The connection of a running command broke.
    #[error("the connection to the daemon broke while the command ran")]
    ExecBroken {
        /// What the WebSocket layer said; `None` if the daemon just ended it.
        #[source]
        source: Option<Box<tokio_tungstenite::tungstenite::Error>>,
    },
    /// The command could not be run, or its machine went away.
    #[error("{message}")]
    Exec {
        /// In the daemon's words.
        message: String,
        /// What to do about it, in the daemon's words.
        hint: Option<String>,
    },
}

/// An answer of the daemon that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// In the daemon's words.
    pub message: String,
    /// What to do about it, in the daemon's words.
    pub hint: Option<String>,
    /// Where to find it in the daemon's log.
    pub request_id: Option<String>,
}

impl Error {
    /// The HTTP status, if the daemon answered with one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Url { .. } => Some("a URL looks like http://127.0.0.1:8080".to_owned()),
            Self::Token => Some("a token looks like bht_USER_ and 64 digits".to_owned()),
            Self::NotRunning { .. } => Some(
                "start it with `bhatti serve`, or name another one with --url or --data-dir"
                    .to_owned(),
            ),
            Self::Connect {
                endpoint: Endpoint::Unix(_),
                source,
            } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "the daemon is another user's; log in to it with `bhatti setup --url … --token …`"
                    .to_owned(),
            ),
            Self::Connect { .. } | Self::Timeout { .. } => {
                Some("check that the daemon runs there and that nothing is in between".to_owned())
            }
            Self::Authorities { .. } => Some("install the package ca-certificates".to_owned()),
            Self::Foreign { .. } => Some(
                "check that the URL is that of a bhatti daemon of a version near this one"
                    .to_owned(),
            ),
            Self::Exec { hint, .. } => hint.clone(),
            Self::Refused(refusal) => refusal.hint(),
            Self::ServerName { .. }
            | Self::Broken { .. }
            | Self::TooLong { .. }
            | Self::ExecBroken { .. } => None,
        }
    }
}

impl Refusal {
    /// The daemon's own hint, else one for the status.
    fn hint(&self) -> Option<String> {
        if let Some(hint) = &self.hint {
            return Some(hint.clone());
        }
        match self.status {
            StatusCode::UNAUTHORIZED => Some("log in with `bhatti setup`".to_owned()),
            StatusCode::INTERNAL_SERVER_ERROR => self
                .request_id
                .as_ref()
                .map(|id| format!("the daemon's log has more under {id}")),
            _ => None,
        }
    }
}
