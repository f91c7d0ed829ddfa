//! What a caller is told when a request did not succeed.

use std::fmt;

use bhatti_types::invalid::Invalid;

/// The kinds of things that have names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sandbox.
    Sandbox,
    /// A checkpoint.
    Snapshot,
    /// An image.
    Image,
    /// A user.
    User,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Snapshot => "snapshot",
            Self::Image => "image",
            Self::User => "user",
        })
    }
}

/// A refused or failed request.
///
/// `Display` is fit for the caller: no host paths, commands or secrets. What only the log may
/// hold is in the `source` chain of [`Error::Internal`] and [`Error::Failed`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something in the request is not well formed (400).
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is no such thing, or it is another user's (404).
    #[error("{kind} {name:?} not found")]
    NotFound {
        /// What was looked for.
        kind: Kind,
        /// The name or id given.
        name: String,
    },
    /// The name is taken (409).
    #[error("{kind} {name:?} already exists")]
    Exists {
        /// What it is.
        kind: Kind,
        /// The taken name.
        name: String,
    },
    /// The thing is in a state that does not allow it (409).
    #[error("{message}")]
    Conflict {
        /// What stands in the way.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// One of the user's own limits is reached (429).
    #[error("{what} limit reached ({limit})")]
    Quota {
        /// Which limit.
        what: &'static str,
        /// Its value.
        limit: u64,
    },
    /// The request asks for more than one of the user's limits allows for one thing (400).
    #[error("{what} {asked} is over the limit of {limit}")]
    OverLimit {
        /// Which limit.
        what: &'static str,
        /// What was asked for.
        asked: u64,
        /// Its value.
        limit: u64,
    },
    /// The host lacks something it needs for this: memory, disk space, a program, the guest kit
    /// (503).
    #[error("{message}")]
    Unavailable {
        /// What is missing.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The guest refused: no such program, user or directory (400).
    #[error("{message}")]
    Guest {
        /// What the guest's agent said, bounded and printable.
        message: String,
        /// The exit code a shell would give: 127 not found, 126 not executable, else 1.
        exit_code: i32,
    },
    /// The machine did not do what was asked of it; its state is as before or `failed` (502).
    #[error("{message}")]
    Failed {
        /// What did not work.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// The whole story, for the log.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// It took too long (504).
    #[error("{what} did not finish in {seconds} s")]
    Timeout {
        /// What did not finish.
        what: &'static str,
        /// The time it had, in seconds.
        seconds: u64,
    },
    /// The daemon is stopping (503).
    #[error("the daemon is stopping")]
    Stopping,
    /// A fault of bhatti or its host; scrubbed in replies (500).
    #[error("internal error")]
    Internal {
        /// The whole story, for the log.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Wraps a fault of the host or of bhatti itself.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Internal {
            source: source.into(),
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Conflict { hint, .. }
            | Self::Unavailable { hint, .. }
            | Self::Failed { hint, .. } => hint.as_deref(),
            Self::Quota { .. } => Some("destroy what is no longer used, or ask for a higher limit"),
            Self::Invalid(_)
            | Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::OverLimit { .. }
            | Self::Guest { .. }
            | Self::Timeout { .. }
            | Self::Stopping
            | Self::Internal { .. } => None,
        }
    }
}
