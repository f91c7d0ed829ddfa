//! The journal: what was begun and not yet finished, so that the next daemon can repair it.
//!
//! An operation is opened before its first effect and closed after its last. Each of its steps
//! is written as begun before it runs and as done after. What is still open at a start was cut
//! off: a begun step may have had all, part or none of its effect.

use std::fmt;

use bhatti_types::id::hex;
use jiff::Timestamp;
use rusqlite::Row;

use crate::column::{json, time_text, word};
use crate::error::{Entity, StoreError};
use crate::store::{Store, Txn};

/// Names one journalled operation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(String);

impl OpId {
    /// Makes a new id from the operating system's randomness.
    ///
    /// # Panics
    /// If the operating system has no randomness to give, which Linux does not do once it has
    /// booted.
    pub fn random() -> Self {
        let mut bytes = [0u8; 8];
        getrandom::fill(&mut bytes).expect("the kernel's random generator is initialised");
        Self(format!("op_{}", hex(&bytes)))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a step has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It may have had an effect.
    Begun,
    /// It has had all of its effect.
    Done,
}

impl Phase {
    const ALL: [Self; 2] = [Self::Begun, Self::Done];

    /// The word as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
        }
    }
}

/// An operation that was not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingOp {
    /// Its id.
    pub op: OpId,
    /// Which workflow it is of; the engine's word.
    pub kind: String,
    /// Id of the sandbox or checkpoint it is about.
    pub subject: String,
    /// What else the workflow needs to know to be repaired.
    pub detail: serde_json::Value,
    /// The steps that were begun, in order.
    pub steps: Vec<PendingStep>,
}

/// One step of an operation that was not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingStep {
    /// Its place in the workflow.
    pub index: u32,
    /// Its name; the engine's word.
    pub name: String,
    /// How far it came.
    pub phase: Phase,
}

impl PendingStep {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            index: row.get("idx")?,
            name: row.get("name")?,
            phase: word(row, "phase", &Phase::ALL, Phase::as_str)?,
        })
    }
}

impl Txn<'_> {
    /// Opens an operation; [`StoreError::Exists`] if it was opened before.
    pub fn journal_open(
        &self,
        op: &OpId,
        kind: &str,
        subject: &str,
        detail: &serde_json::Value,
    ) -> Result<(), StoreError> {
        let opened_at = time_text(Timestamp::now());
        let added = self
            .raw
            .prepare_cached(
                "INSERT INTO journal (op, kind, subject, detail, opened_at) VALUES (?1, ?2, ?3, \
                 ?4, ?5) ON CONFLICT DO NOTHING",
            )
            .and_then(|mut statement| {
                statement.execute((op.as_str(), kind, subject, detail.to_string(), opened_at))
            })
            .map_err(StoreError::sql("open a journal entry"))?;
        if added == 0 {
            return Err(StoreError::Exists {
                entity: Entity::Operation,
                name: op.to_string(),
            });
        }
        Ok(())
    }

    /// Writes how far a step has come, over what was written of it before.
    ///
    /// [`StoreError::NotFound`] if the operation is not open.
    pub fn journal_step(
        &self,
        op: &OpId,
        index: u32,
        name: &str,
        phase: Phase,
    ) -> Result<(), StoreError> {
        let changed = self
            .raw
            .prepare_cached(
                "INSERT INTO journal_steps (op, idx, name, phase) SELECT op, ?2, ?3, ?4 FROM \
                 journal WHERE op = ?1 ON CONFLICT (op, idx) DO UPDATE SET name = excluded.name, \
                 phase = excluded.phase",
            )
            .and_then(|mut statement| statement.execute((op.as_str(), index, name, phase.as_str())))
            .map_err(StoreError::sql("write a journal step"))?;
        if changed == 0 {
            return Err(StoreError::NotFound {
                entity: Entity::Operation,
                name: op.to_string(),
            });
        }
        Ok(())
    }

    /// Closes an operation and forgets its steps; one that is not open is closed already.
    pub fn journal_close(&self, op: &OpId) -> Result<(), StoreError> {
        self.raw
            .prepare_cached("DELETE FROM journal WHERE op = ?1")
            .and_then(|mut statement| statement.execute([op.as_str()]))
            .map_err(StoreError::sql("close a journal entry"))?;
        Ok(())
    }

    /// The operations that are open, in the order they were opened.
    pub fn journal_pending(&self) -> Result<Vec<PendingOp>, StoreError> {
        let mut operations: Vec<PendingOp> = self
            .raw
            .prepare_cached("SELECT op, kind, subject, detail FROM journal ORDER BY rowid")
            .and_then(|mut statement| {
                let rows = statement.query_map([], |row| {
                    Ok(PendingOp {
                        op: OpId(row.get("op")?),
                        kind: row.get("kind")?,
                        subject: row.get("subject")?,
                        detail: json(row, "detail")?,
                        steps: Vec::new(),
                    })
                })?;
                rows.collect()
            })
            .map_err(StoreError::sql("read the journal"))?;
        for operation in &mut operations {
            operation.steps = self.all(
                "read the journal's steps",
                "SELECT idx, name, phase FROM journal_steps WHERE op = ?1 ORDER BY idx",
                [operation.op.as_str()],
                PendingStep::from_row,
            )?;
        }
        Ok(operations)
    }
}

/// The journal outlives the daemon, not a crash of the host: then no machine is left that it could
/// tell about. So its writes are not synced, which would cost several milliseconds a step.
impl Store {
    /// [`Txn::journal_open`] on its own.
    pub fn journal_open(
        &self,
        op: &OpId,
        kind: &str,
        subject: &str,
        detail: &serde_json::Value,
    ) -> Result<(), StoreError> {
        self.write_relaxed(|txn| txn.journal_open(op, kind, subject, detail))
    }

    /// [`Txn::journal_step`] on its own.
    pub fn journal_step(
        &self,
        op: &OpId,
        index: u32,
        name: &str,
        phase: Phase,
    ) -> Result<(), StoreError> {
        self.write_relaxed(|txn| txn.journal_step(op, index, name, phase))
    }

    /// [`Txn::journal_close`] on its own.
    pub fn journal_close(&self, op: &OpId) -> Result<(), StoreError> {
        self.write_relaxed(|txn| txn.journal_close(op))
    }

    /// [`Txn::journal_pending`] on its own.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method's path is not general over the transaction's lifetime"
    )]
    pub fn journal_pending(&self) -> Result<Vec<PendingOp>, StoreError> {
        self.read(|txn| txn.journal_pending())
    }
}
