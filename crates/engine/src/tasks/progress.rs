//! How far a task is.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

/// Most parts that are kept of one task: images have at most 127 layers under Docker.
const MAX_PARTS: usize = 512;

/// How far a task is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// What it does now, in a word or two, such as `fetching`.
    pub phase: &'static str,
    /// Bytes done in this phase.
    pub done_bytes: u64,
    /// Bytes in all, where that is known.
    pub total_bytes: Option<u64>,
    /// Its parts, layers of an image, in their order.
    pub parts: Vec<Part>,
}

/// A part of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is, such as the digest of a layer.
    pub name: String,
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all, where that is known.
    pub total_bytes: Option<u64>,
    /// Whether it is complete.
    pub complete: bool,
}

/// Where a task says how far it is, and hears that it is not wanted any more. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Reporter {
    progress: Arc<Mutex<Progress>>,
    cancelled: CancellationToken,
}

impl Reporter {
    /// Of a task that ends with this token.
    pub(super) fn new(cancelled: CancellationToken) -> Self {
        Self {
            progress: Arc::default(),
            cancelled,
        }
    }

    /// Begins a phase: nothing of it is done yet.
    pub fn phase(&self, phase: &'static str, total_bytes: Option<u64>) {
        self.update(|progress| {
            progress.phase = phase;
            progress.done_bytes = 0;
            progress.total_bytes = total_bytes;
        });
    }

    /// Says how many bytes of how many of the phase are done.
    pub fn amount(&self, done_bytes: u64, total_bytes: u64) {
        self.update(|progress| {
            progress.done_bytes = done_bytes;
            progress.total_bytes = Some(total_bytes);
        });
    }

    /// Adds to the bytes that are done.
    pub fn add(&self, bytes: u64) {
        self.update(|progress| progress.done_bytes = progress.done_bytes.saturating_add(bytes));
    }

    /// Says how far a part is; one that is new comes after the others.
    pub fn part(&self, part: Part) {
        self.update(|progress| {
            let parts = &mut progress.parts;
            if let Some(there) = parts.iter_mut().find(|one| one.name == part.name) {
                *there = part;
            } else if parts.len() < MAX_PARTS {
                parts.push(part);
            }
            progress.done_bytes = progress.parts.iter().map(|one| one.done_bytes).sum();
            progress.total_bytes = progress.parts.iter().map(|one| one.total_bytes).sum();
        });
    }

    /// How far it is.
    pub fn now(&self) -> Progress {
        self.progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Cancelled when the task is.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod test {
    use super::{Part, Reporter};

    #[test]
    fn parts_add_up_and_the_sum_is_unknown_while_one_is() {
        let reporter = Reporter::default();
        reporter.phase("fetching", None);
        let part = |name: &str, done_bytes, total_bytes| Part {
            name: name.to_owned(),
            done_bytes,
            total_bytes,
            complete: false,
        };
        reporter.part(part("a", 1, Some(10)));
        reporter.part(part("b", 2, None));
        assert_eq!(
            (reporter.now().done_bytes, reporter.now().total_bytes),
            (3, None)
        );
        reporter.part(part("b", 5, Some(5)));
        let now = reporter.now();
        assert_eq!((now.done_bytes, now.total_bytes), (6, Some(15)));
        assert_eq!(now.parts.len(), 2);
        reporter.phase("converting", Some(100));
        reporter.add(7);
        assert_eq!(reporter.now().done_bytes, 7);
    }
}
