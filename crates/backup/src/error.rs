//! What can go wrong with a backup.

/// A backup that was not made, or not read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The disk, or the directory that backups go to, failed.
    #[error("failed to {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The storage does not let this daemon in.
    #[error("the backup storage refused the credentials ({code})")]
    Denied {
        /// Its own word, such as `InvalidAccessKeyId`.
        code: String,
    },
    /// The storage answered with an error.
    #[error("the backup storage answered {status} ({code})")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its own word, such as `NoSuchBucket`.
        code: String,
    },
    /// The storage could not be reached, or the connection broke, several times over.
    #[error("the backup storage could not be reached")]
    Unreachable {
        /// The last failure.
        #[source]
        source: reqwest::Error,
    },
    /// The storage's address or the host's certificates can't be used.
    #[error("the backup storage can't be used: {why}")]
    Settings {
        /// What is wrong.
        why: String,
    },
    /// There is no such backup.
    #[error("there is no backup {id}")]
    NotFound {
        /// Its id.
        id: String,
    },
    /// A part of a backup is missing or not what it was.
    #[error("the backup is damaged: {what}")]
    Damaged {
        /// Which part.
        what: String,
    },
    /// It was written by a newer bhatti.
    #[error("the backup has format {found}, this version reads formats up to {known}")]
    TooNew {
        /// Its format.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
}

impl BackupError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}
