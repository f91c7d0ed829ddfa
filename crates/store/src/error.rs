//! What can go wrong with the store.

use std::fmt;
use std::path::PathBuf;

/// The kinds of rows, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entity {
    /// A user.
    User,
    /// A sandbox.
    Sandbox,
    /// A checkpoint.
    Snapshot,
    /// A journalled operation.
    Operation,
    /// A volume.
    Volume,
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Sandbox => "sandbox",
            Self::Snapshot => "snapshot",
            Self::Operation => "operation",
            Self::Volume => "volume",
        })
    }
}

/// A refused change or a fault of the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database file could not be made or opened.
    #[error("failed to open the database `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A newer bhatti has written the database; nothing was changed.
    #[error(
        "the database has schema version {found}, but this bhatti knows only versions up to \
         {known}: run the newer bhatti that wrote it"
    )]
    TooNew {
        /// Version found in the file.
        found: i64,
        /// Newest version known here.
        known: i64,
    },
    /// A step from one schema version to the next failed; the database is as before that step.
    #[error("failed to bring the database to schema version {version}")]
    Migrate {
        /// The version the step leads to.
        version: i64,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The name or id is taken.
    #[error("{entity} {name:?} already exists")]
    Exists {
        /// What it is.
        entity: Entity,
        /// The taken name.
        name: String,
    },
    /// The user has as many as allowed.
    #[error("{entity} limit reached ({limit})")]
    Quota {
        /// Of what.
        entity: Entity,
        /// The limit.
        limit: u32,
    },
    /// The user's volumes would hold more than allowed.
    #[error("volume storage limit reached ({limit} MB)")]
    Storage {
        /// The limit, in MiB.
        limit: u32,
    },
    /// A volume is attached in a way that stands against this.
    #[error("volume {volume:?} is attached to {}", list(sandboxes))]
    Attached {
        /// The volume's name.
        volume: String,
        /// Names of the sandboxes that have it.
        sandboxes: Vec<String>,
    },
    /// A sandbox has something at that path, or as many volumes as it can have.
    #[error("{why}")]
    NoPlace {
        /// What stands against it.
        why: String,
    },
    /// The row to change is not there.
    #[error("{entity} {name:?} not found")]
    NotFound {
        /// What it is.
        entity: Entity,
        /// Its id.
        name: String,
    },
    /// The user still has things.
    #[error(
        "user {name:?} still has {sandboxes} sandboxes, {snapshots} snapshots and {volumes} volumes"
    )]
    InUse {
        /// The user's name.
        name: String,
        /// Number of sandboxes.
        sandboxes: u32,
        /// Number of checkpoints.
        snapshots: u32,
        /// Number of volumes.
        volumes: u32,
    },
    /// The built-in user cannot be deleted or given a token.
    #[error("user {name:?} is built in")]
    BuiltIn {
        /// Its name.
        name: String,
    },
    /// SQLite failed, or a row holds what this bhatti cannot read.
    #[error("failed to {operation}")]
    Sql {
        /// What was being done, as a verb phrase.
        operation: &'static str,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Names the operation in an SQLite error; for `map_err`.
    pub(crate) fn sql(operation: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sql { operation, source }
    }
}

/// Names, as a sentence has them.
fn list(names: &[String]) -> String {
    let quoted: Vec<_> = names
        .iter()
        .map(|name| format!("sandbox {name:?}"))
        .collect();
    quoted.join(", ")
}
