//! What a caller is told when a request did not succeed.

use std::fmt;
use std::time::Duration;

use bhatti_guest::link::{CallError, LinkError, RefusedKind};
use bhatti_image::catalog::CatalogError;
use bhatti_image::kit::KitError;
use bhatti_lifecycle::limits::OverLimit;
use bhatti_store::error::{Entity, StoreError};
use bhatti_types::invalid::Invalid;
use bhatti_vmm::error::VmmError;

use crate::checkpoint::ImageError;

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
    /// A template.
    Template,
    /// A volume.
    Volume,
    /// A backup of a volume.
    Backup,
    /// A task.
    Task,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sandbox => "sandbox",
            Self::Snapshot => "snapshot",
            Self::Image => "image",
            Self::User => "user",
            Self::Template => "template",
            Self::Volume => "volume",
            Self::Backup => "backup",
            Self::Task => "task",
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
    /// The daemon is not set up for this (501).
    #[error("{message}")]
    NotConfigured {
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
    /// The host has no memory for another machine now (503).
    #[error("{message}")]
    NoRoom {
        /// What was asked for, and what there is.
        message: String,
    },
    /// It is under way and takes longer than a request waits (503).
    #[error("{message}")]
    Busy {
        /// What takes long.
        message: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// It was on its way to disk when another request asked for it (409).
    #[error("another request woke it while it went to sleep")]
    Woken,
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

    /// The machine did not do what was asked of it.
    pub(crate) fn failed(
        message: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Failed {
            message: message.into(),
            hint: None,
            source: Some(source.into()),
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Conflict { hint, .. }
            | Self::Unavailable { hint, .. }
            | Self::NotConfigured { hint, .. }
            | Self::Failed { hint, .. } => hint.as_deref(),
            Self::NoRoom { .. } => {
                Some("stop a sandbox, ask for less `--memory`, or wait for room with `--wait`")
            }
            Self::Quota { .. } => Some("destroy what is no longer used, or ask for a higher limit"),
            Self::Invalid(_)
            | Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::OverLimit { .. }
            | Self::Guest { .. }
            | Self::Timeout { .. }
            | Self::Busy { .. }
            | Self::Woken
            | Self::Stopping
            | Self::Internal { .. } => None,
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let kind = |entity| match entity {
            Entity::User => Kind::User,
            Entity::Sandbox | Entity::Operation => Kind::Sandbox,
            Entity::Snapshot => Kind::Snapshot,
            Entity::Volume => Kind::Volume,
        };
        match error {
            StoreError::Exists { entity, name } => Self::Exists {
                kind: kind(entity),
                name,
            },
            StoreError::NotFound { entity, name } => Self::NotFound {
                kind: kind(entity),
                name,
            },
            StoreError::Quota { entity, limit } => Self::Quota {
                what: match entity {
                    Entity::Snapshot => "snapshot",
                    Entity::Volume => "volume",
                    Entity::Sandbox | Entity::User | Entity::Operation => "sandbox",
                },
                limit: u64::from(limit),
            },
            StoreError::Storage { limit } => Self::Quota {
                what: "volume storage (MB)",
                limit: u64::from(limit),
            },
            StoreError::Attached { .. } => Self::Conflict {
                message: error.to_string(),
                hint: Some(
                    "one sandbox may write to a volume, or many may read it: `bhatti volume detach` \
                     takes it from one"
                        .to_owned(),
                ),
            },
            StoreError::NoPlace { why } => Self::Conflict {
                message: why,
                hint: None,
            },
            StoreError::InUse { .. } => Self::Conflict {
                message: error.to_string(),
                hint: Some("destroy its sandboxes, delete its snapshots and volumes first".to_owned()),
            },
            StoreError::BuiltIn { .. } => Self::Conflict {
                message: error.to_string(),
                hint: None,
            },
            StoreError::Open { .. }
            | StoreError::TooNew { .. }
            | StoreError::Migrate { .. }
            | StoreError::Sql { .. } => Self::internal(error),
        }
    }
}

impl From<VmmError> for Error {
    fn from(error: VmmError) -> Self {
        match error {
            VmmError::NoProgram { .. } => Self::Unavailable {
                message: "QEMU is not installed".to_owned(),
                hint: Some("install it: `apt install qemu-system-x86`".to_owned()),
            },
            VmmError::Ended { .. } => Self::failed("the machine ended unexpectedly", error),
            VmmError::Timeout { .. } => Self::failed("the machine did not answer in time", error),
            VmmError::Files { .. }
            | VmmError::Start(_)
            | VmmError::Refused { .. }
            | VmmError::Protocol { .. }
            | VmmError::Control(_)
            | VmmError::Memory(_) => Self::failed("the machine monitor failed", error),
        }
    }
}

impl From<LinkError> for Error {
    fn from(error: LinkError) -> Self {
        Self::Failed {
            message: "the guest's agent does not answer".to_owned(),
            hint: Some(
                "look at it with `bhatti inspect`; `bhatti stop` and `bhatti start` may help"
                    .to_owned(),
            ),
            source: Some(Box::new(error)),
        }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused { kind, message } => Self::Guest {
                message,
                exit_code: match kind {
                    RefusedKind::NotFound => 127,
                    RefusedKind::NotExecutable => 126,
                    RefusedKind::NoSuchUser
                    | RefusedKind::BadCwd
                    | RefusedKind::BadOutput
                    | RefusedKind::Invalid
                    | RefusedKind::Busy
                    | RefusedKind::Failed
                    | RefusedKind::Unsupported
                    | RefusedKind::NotListening => 1,
                },
            },
            CallError::TimedOut { what, limit } => Self::Timeout {
                what,
                seconds: limit.as_secs(),
            },
            CallError::TooLarge { .. } => {
                Self::Invalid(Invalid::new("command", "", error.to_string()))
            }
            CallError::Link { .. } => Self::Failed {
                message: "the connection to the machine was lost".to_owned(),
                hint: None,
                source: Some(Box::new(error)),
            },
            CallError::Protocol { .. } => {
                Self::failed("the guest's agent gave a wrong answer", error)
            }
        }
    }
}

impl From<ImageError> for Error {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Io { .. } => Self::internal(error),
            ImageError::TooNew { .. } => Self::Unavailable {
                message: error.to_string(),
                hint: Some("run the newer bhatti that wrote it".to_owned()),
            },
            ImageError::Manifest | ImageError::File { .. } => Self::Failed {
                message: match error {
                    ImageError::File { name } => {
                        format!("the stored memory or disk is damaged (file {name:?})")
                    }
                    _ => "the stored memory or disk is damaged (its manifest)".to_owned(),
                },
                hint: Some(
                    "it can't be gone on from: delete the snapshot, or boot a sandbox from its \
                     disk with `bhatti start --force`"
                        .to_owned(),
                ),
                source: None,
            },
        }
    }
}

impl From<OverLimit> for Error {
    fn from(over: OverLimit) -> Self {
        Self::OverLimit {
            what: over.what,
            asked: u64::from(over.asked),
            limit: u64::from(over.limit),
        }
    }
}

impl From<KitError> for Error {
    fn from(error: KitError) -> Self {
        let message = match &error {
            KitError::NoCurrent => "no guest kit is installed",
            KitError::Missing { .. } => "the guest kit this machine was made with is not installed",
            KitError::Damaged { .. } => "the guest kit is damaged",
            KitError::Store { .. } => return Self::internal(error),
        };
        Self::Unavailable {
            message: message.to_owned(),
            hint: Some("make it with `cargo xtask guest-kit`".to_owned()),
        }
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Exists { name, .. } => Self::Exists {
                kind: Kind::Image,
                name: name.to_string(),
            },
            CatalogError::Store { .. } | CatalogError::Damaged { .. } => Self::internal(error),
        }
    }
}
