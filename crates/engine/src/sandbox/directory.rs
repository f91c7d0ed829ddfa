//! All sandboxes that there are, by id, and by name among one user's.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bhatti_types::id::{SandboxId, UserId};

use super::actor::Handle;

/// The ways to all sandboxes' tasks.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    handles: Mutex<BTreeMap<SandboxId, Handle>>,
}

impl Directory {
    pub(crate) fn insert(&self, handle: Handle) {
        self.lock().insert(handle.id.clone(), handle);
    }

    pub(crate) fn remove(&self, id: &SandboxId) {
        self.lock().remove(id);
    }

    /// Lets go of all: their tasks end once they have done what they are at.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// A user's sandboxes.
    pub(crate) fn of_user(&self, user: &UserId) -> Vec<Handle> {
        self.lock()
            .values()
            .filter(|handle| handle.user == *user)
            .cloned()
            .collect()
    }

    /// A user's sandbox by name, or else by id. Another user's is not there.
    pub(crate) fn find(&self, user: &UserId, key: &str) -> Option<Handle> {
        let handles = self.lock();
        let mut own = handles.values().filter(|handle| handle.user == *user);
        own.clone()
            .find(|handle| handle.now().view.name.as_str() == key)
            .or_else(|| own.find(|handle| handle.id.as_str() == key))
            .cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SandboxId, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
