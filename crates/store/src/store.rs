//! The connection and its transactions.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fs_err::OpenOptions;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use rusqlite::{Connection, OptionalExtension as _, Params, Row, Transaction, TransactionBehavior};

use crate::error::StoreError;
use crate::migrate::migrate;

/// How long to wait for another process that holds the database, such as a backup tool.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// The open database. Cheap to clone; clones share one connection.
#[derive(Clone)]
pub struct Store {
    connection: Arc<Mutex<Leveled>>,
}

/// The connection, and how durable its next commit is.
struct Leveled {
    raw: Connection,
    level: Level,
}

/// Whether a commit waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Durable,
    Relaxed,
}

impl Leveled {
    fn set(&mut self, level: Level) -> Result<(), StoreError> {
        if self.level == level {
            return Ok(());
        }
        let word = match level {
            Level::Durable => "FULL",
            Level::Relaxed => "NORMAL",
        };
        self.raw
            .pragma_update(None, "synchronous", word)
            .map_err(StoreError::sql("set how durable a write is"))?;
        self.level = level;
        Ok(())
    }
}

/// A transaction: everything done through it takes effect together or not at all.
pub struct Txn<'a> {
    pub(crate) raw: &'a Transaction<'a>,
}

impl Txn<'_> {
    /// The row that a query finds, if it finds one. `action` is what an error says failed.
    pub(crate) fn one<T>(
        &self,
        action: &'static str,
        query: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.raw
            .prepare_cached(query)
            .and_then(|mut statement| statement.query_row(params, read).optional())
            .map_err(StoreError::sql(action))
    }

    /// All rows that a query finds. `action` is what an error says failed.
    pub(crate) fn all<T>(
        &self,
        action: &'static str,
        query: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.raw
            .prepare_cached(query)
            .and_then(|mut statement| statement.query_map(params, read)?.collect())
            .map_err(StoreError::sql(action))
    }
}

impl Store {
    /// Opens or makes the database file, readable by its owner only, and brings its schema up to
    /// date.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        // SQLite gives its -wal and -shm files the mode of this one.
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed(error.into()))?;
        let connection = Connection::open(path).map_err(|error| failed(error.into()))?;
        Self::prepare(connection)
    }

    /// Makes a database that lives in memory, for tests.
    pub fn open_in_memory() -> Result<Self, StoreError> {
        let connection =
            Connection::open_in_memory().map_err(StoreError::sql("make a database in memory"))?;
        Self::prepare(connection)
    }

    fn prepare(mut connection: Connection) -> Result<Self, StoreError> {
        connection
            .busy_timeout(BUSY_LIMIT)
            .map_err(StoreError::sql("set the busy timeout"))?;
        // FULL makes each commit durable in WAL mode; NORMAL would only keep it consistent.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;",
            )
            .map_err(StoreError::sql("configure the database"))?;
        migrate(&mut connection)?;
        Ok(Self {
            connection: Arc::new(Mutex::new(Leveled {
                raw: connection,
                level: Level::Durable,
            })),
        })
    }

    /// Runs `body` in one transaction, which is committed durably if it returns `Ok` and rolled
    /// back if not. Other users of the store wait meanwhile: keep it short.
    pub fn write<T>(
        &self,
        body: impl FnOnce(&Txn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transaction(TransactionBehavior::Immediate, body)
    }

    /// [`Store::write`] without waiting for the disk: what was written outlives this process, and
    /// a crash of the host only once a later [`Store::write`] was committed.
    pub fn write_relaxed<T>(
        &self,
        body: impl FnOnce(&Txn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        connection.set(Level::Relaxed)?;
        Self::run(&mut connection.raw, TransactionBehavior::Immediate, body)
    }

    /// Runs `body` over one consistent view of the database.
    pub fn read<T>(
        &self,
        body: impl FnOnce(&Txn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.transaction(TransactionBehavior::Deferred, body)
    }

    fn transaction<T>(
        &self,
        behavior: TransactionBehavior,
        body: impl FnOnce(&Txn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        // A transaction that only reads writes nothing, however durably.
        if matches!(behavior, TransactionBehavior::Immediate) {
            connection.set(Level::Durable)?;
        }
        Self::run(&mut connection.raw, behavior, body)
    }

    fn run<T>(
        connection: &mut Connection,
        behavior: TransactionBehavior,
        body: impl FnOnce(&Txn<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let raw = connection
            .transaction_with_behavior(behavior)
            .map_err(StoreError::sql("begin a transaction"))?;
        let value = body(&Txn { raw: &raw })?;
        raw.commit()
            .map_err(StoreError::sql("commit a transaction"))?;
        Ok(value)
    }

    fn lock(&self) -> MutexGuard<'_, Leveled> {
        // A panic inside a transaction rolls it back, so the connection is still good.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
