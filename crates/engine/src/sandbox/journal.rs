//! How far a plan has come, as the journal has it.
//!
//! A step is written down before its first effect. The effect of some is a change of a record: the
//! line about such a step is written in the same transaction, and so are the opening before the
//! first step and, if the last one is of that kind, the closing. A transaction costs as much as
//! several changes in it.

use bhatti_lifecycle::plan::{PlanKind, Step};
use bhatti_store::error::StoreError;
use bhatti_store::journal::{OpId, Phase};
use bhatti_store::store::{Store, Txn};

use super::work::Work;
use crate::error::Error;

/// Whether a change of a record outlives a crash of the host from its commit on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It does.
    Durable,
    /// It does once something else was written durably.
    Relaxed,
}

/// The journal of the plan that is running.
#[derive(Debug)]
pub(super) struct Journal {
    op: OpId,
    kind: PlanKind,
    subject: String,
    detail: serde_json::Value,
    stage: Stage,
    /// What is to be written next.
    begun: Option<(u32, Step)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing of it is written.
    New,
    /// It is open.
    Open,
    /// It is to be closed with what is written next.
    Closing,
    /// It is closed.
    Closed,
}

impl Journal {
    pub(super) fn new(kind: PlanKind, subject: String, detail: serde_json::Value) -> Self {
        Self {
            op: OpId::random(),
            kind,
            subject,
            detail,
            stage: Stage::New,
            begun: None,
        }
    }

    /// The plan goes on to be unwound.
    pub(super) fn broke(&mut self) {
        if self.stage == Stage::Closing {
            self.stage = Stage::Open;
        }
        self.begun = None;
    }

    /// Whether something of it was written.
    pub(super) fn is_begun(&self) -> bool {
        self.stage != Stage::New
    }
}

/// Lines of the journal on their way to the store.
#[derive(Debug, Default)]
struct Lines {
    open: Option<Opening>,
    begun: Option<(OpId, u32, Step)>,
    close: Option<OpId>,
}

#[derive(Debug)]
struct Opening {
    op: OpId,
    kind: PlanKind,
    subject: String,
    detail: serde_json::Value,
}

impl Lines {
    fn write(&self, txn: &Txn<'_>) -> Result<(), StoreError> {
        if let Some(open) = &self.open {
            txn.journal_open(&open.op, open.kind.as_str(), &open.subject, &open.detail)?;
        }
        if let Some((op, index, step)) = &self.begun {
            txn.journal_step(op, *index, step.as_str(), Phase::Begun)?;
        }
        match &self.close {
            Some(op) => txn.journal_close(op),
            None => Ok(()),
        }
    }
}

impl Work {
    /// Writes down that a step of the plan begins, or has its own change of a record say so.
    pub(super) async fn journal_step(&mut self, index: usize, step: Step) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        journal.begun = Some((index as u32, step));
        if !step.is_record() {
            return self.change(Durability::Relaxed, |_| Ok(())).await;
        }
        if index + 1 == journal.kind.steps().len() {
            journal.stage = match journal.stage {
                // Opened and closed in one transaction it leaves nothing.
                Stage::New | Stage::Closed => Stage::Closed,
                Stage::Open | Stage::Closing => Stage::Closing,
            };
        }
        Ok(())
    }

    /// Closes the journal of the plan, if that is not done yet.
    pub(super) async fn journal_close(&mut self) -> Result<(), Error> {
        let Some(mut journal) = self.journal.take() else {
            return Ok(());
        };
        match journal.stage {
            Stage::New | Stage::Closed => return Ok(()),
            Stage::Open | Stage::Closing => journal.stage = Stage::Closing,
        }
        journal.begun = None;
        self.journal = Some(journal);
        let closed = self.change(Durability::Relaxed, |_| Ok(())).await;
        self.journal = None;
        closed
    }

    /// Changes records, in one transaction with what is to be said in the journal.
    pub(super) async fn change<T: Send + 'static>(
        &mut self,
        durability: Durability,
        body: impl FnOnce(&Txn<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Error> {
        let mut lines = Lines::default();
        let mut after = None;
        if let Some(journal) = &mut self.journal {
            let begun = journal.begun.take();
            match journal.stage {
                Stage::New => {
                    lines.open = Some(Opening {
                        op: journal.op.clone(),
                        kind: journal.kind,
                        subject: journal.subject.clone(),
                        detail: journal.detail.clone(),
                    });
                    after = Some(Stage::Open);
                }
                Stage::Closing => {
                    lines.close = Some(journal.op.clone());
                    after = Some(Stage::Closed);
                }
                Stage::Open | Stage::Closed => {}
            }
            if matches!(journal.stage, Stage::New | Stage::Open) {
                lines.begun = begun.map(|(index, step)| (journal.op.clone(), index, step));
            }
        }
        let write = move |store: &Store| {
            let body = |txn: &Txn<'_>| {
                lines.write(txn)?;
                body(txn)
            };
            match durability {
                Durability::Durable => store.write(body),
                Durability::Relaxed => store.write_relaxed(body),
            }
        };
        let changed = self.ctx.db(write).await?;
        if let (Some(journal), Some(after)) = (&mut self.journal, after) {
            journal.stage = after;
        }
        Ok(changed)
    }
}
