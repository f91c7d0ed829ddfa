//! The commands that run, and the standard inputs that wait for their streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

/// Attached commands that may run at once.
pub(crate) const MAX_ATTACHED: usize = 256;

/// Who runs. Shared by all links: commands outlive the link that started them.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    attached: HashMap<u64, Entry>,
    detached: usize,
}

#[derive(Debug)]
struct Entry {
    /// Our end of its standard input, while no stream carries it.
    stdin: Option<pipe::Sender>,
    ended: CancellationToken,
}

/// The place of one running command. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    registry: Arc<Registry>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Attached(u64),
    Detached,
}

/// The standard input of a command, taken to be carried.
#[derive(Debug)]
pub(crate) struct TakenStdin {
    pub(crate) pipe: pipe::Sender,
    /// Cancelled once the command has ended.
    pub(crate) ended: CancellationToken,
}

impl Registry {
    /// Takes a place for an attached command; `None` if there is none left.
    pub(crate) fn attach(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state();
        if state.attached.len() >= MAX_ATTACHED {
            return None;
        }
        state.next += 1;
        let id = state.next;
        let entry = Entry {
            stdin: None,
            ended: CancellationToken::new(),
        };
        state.attached.insert(id, entry);
        Some(Place {
            registry: Arc::clone(self),
            kind: Kind::Attached(id),
        })
    }

    /// Takes a place for a detached command. They are not counted against any limit: a guest may
    /// run as many processes as it has room for.
    pub(crate) fn detach(self: &Arc<Self>) -> Place {
        self.state().detached += 1;
        Place {
            registry: Arc::clone(self),
            kind: Kind::Detached,
        }
    }

    /// How many commands run.
    pub(crate) fn running(&self) -> usize {
        let state = self.state();
        state.attached.len() + state.detached
    }

    /// Takes the standard input of a command; `None` if it has none or somebody has it.
    pub(crate) fn take_stdin(&self, id: u64) -> Option<TakenStdin> {
        let mut state = self.state();
        let entry = state.attached.get_mut(&id)?;
        Some(TakenStdin {
            pipe: entry.stdin.take()?,
            ended: entry.ended.clone(),
        })
    }

    /// Puts a standard input back, so that it stays open while its command runs.
    pub(crate) fn keep_stdin(&self, id: u64, stdin: pipe::Sender) {
        if let Some(entry) = self.state().attached.get_mut(&id) {
            entry.stdin = Some(stdin);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every statement, so a poisoned lock is as good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The agent's name for the command; 0 for a detached one, which needs none.
    pub(crate) fn id(&self) -> u64 {
        match self.kind {
            Kind::Attached(id) => id,
            Kind::Detached => 0,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.registry.state();
        match self.kind {
            Kind::Attached(id) => {
                if let Some(entry) = state.attached.remove(&id) {
                    entry.ended.cancel();
                }
            }
            Kind::Detached => state.detached -= 1,
        }
    }
}
