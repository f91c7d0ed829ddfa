//! Brings a database to the schema of this bhatti.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

/// The steps in order; step `i` leads from schema version `i` to `i + 1`. A step that has been
/// released is never edited: add another.
const STEPS: &[&str] = &[
    include_str!("schema/0001_initial.sql"),
    include_str!("schema/0002_idle.sql"),
    include_str!("schema/0003_images_volumes_networks.sql"),
];

/// The schema version this bhatti writes.
pub(crate) const NEWEST: i64 = STEPS.len() as i64;

/// Applies the missing steps, each in a transaction of its own together with its version number.
///
/// A database that is newer than this bhatti is left alone.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(StoreError::sql("read the schema version"))?;
    if !(0..=NEWEST).contains(&found) {
        return Err(StoreError::TooNew {
            found,
            known: NEWEST,
        });
    }
    for (step, version) in STEPS.iter().zip(1..).skip(found as usize) {
        apply(connection, step, version)
            .map_err(|source| StoreError::Migrate { version, source })?;
        tracing::info!(version, "brought the database to a new schema version");
    }
    Ok(())
}

fn apply(connection: &mut Connection, step: &str, version: i64) -> rusqlite::Result<()> {
    let txn = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    txn.execute_batch(step)?;
    txn.pragma_update(None, "user_version", version)?;
    txn.commit()
}
