//! All sandboxes that there are, by id, and by name among one user's.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bhatti_lifecycle::state::State;
use bhatti_types::id::{SandboxId, UserId};

use super::handle::Handle;
use crate::view::SandboxView;

/// The ways to all sandboxes' tasks.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    handles: BTreeMap<SandboxId, Handle>,
    /// Nothing is entered any more: a task that is in here would never end by itself.
    closed: bool,
}

impl Directory {
    pub(crate) fn insert(&self, handle: Handle) {
        let mut inner = self.lock();
        if !inner.closed {
            inner.handles.insert(handle.id.clone(), handle);
        }
    }

    pub(crate) fn remove(&self, id: &SandboxId) {
        self.lock().handles.remove(id);
    }

    /// Lets go of all, for good: their tasks end once they have done what they are at.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.handles.clear();
        inner.closed = true;
    }

    /// What `pick` takes of what a user's sandboxes are now. A long list is asked for often, so
    /// nothing is cloned that is not shown.
    pub(crate) fn pick_of_user<T>(
        &self,
        user: &UserId,
        pick: impl Fn(&SandboxView) -> Option<T>,
    ) -> Vec<T> {
        let inner = self.lock();
        let handles = inner.handles.values().filter(|handle| handle.user == *user);
        handles.filter_map(|handle| handle.look(&pick)).collect()
    }

    pub(crate) fn by_id(&self, id: &SandboxId) -> Option<Handle> {
        self.lock().handles.get(id).cloned()
    }

    /// All of them, of all users.
    pub(crate) fn all(&self) -> Vec<Handle> {
        self.lock().handles.values().cloned().collect()
    }

    /// The memory of all that have a machine, in bytes.
    pub(crate) fn memory_of_awake(&self) -> u64 {
        let awake = |view: &SandboxView| {
            let state = State::from_shown(view.status, view.thermal);
            state.has_machine().then(|| view.memory.bytes())
        };
        let inner = self.lock();
        let memory = inner
            .handles
            .values()
            .filter_map(|handle| handle.look(awake));
        memory.sum()
    }

    /// A user's sandbox by name. One that is being destroyed no longer has its name.
    pub(crate) fn by_name(&self, user: &UserId, name: &str) -> Option<Handle> {
        self.lock()
            .handles
            .values()
            .find(|handle| handle.user == *user && handle.is_named(name) && !handle.is_going())
            .cloned()
    }

    /// A user's sandbox by name, or else by id. Another user's is not there.
    pub(crate) fn find(&self, user: &UserId, key: &str) -> Option<Handle> {
        self.by_name(user, key).or_else(|| {
            let inner = self.lock();
            let found = inner.handles.values().find(|handle| {
                handle.user == *user && (handle.id.as_str() == key || handle.is_named(key))
            });
            found.cloned()
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
