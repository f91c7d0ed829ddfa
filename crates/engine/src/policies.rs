//! What holds for idle sandboxes: the host's defaults under each user's settings under each
//! sandbox's own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bhatti_lifecycle::idle::IdlePolicy;
use bhatti_types::id::UserId;
use bhatti_types::idle::IdleSettings;
use tokio::sync::watch;

/// The defaults and the users' settings.
pub(crate) struct Policies {
    defaults: IdlePolicy,
    users: Mutex<HashMap<UserId, IdleSettings>>,
    changed: watch::Sender<()>,
}

impl Policies {
    pub(crate) fn new(defaults: IdlePolicy) -> Self {
        Self {
            defaults,
            users: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }

    /// What holds for a sandbox of this user with these settings of its own.
    pub(crate) fn of(&self, user: &UserId, own: IdleSettings) -> IdlePolicy {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        let of_user = users.get(user).copied().unwrap_or_default();
        self.defaults.with(own.over(of_user))
    }

    /// Takes a user's settings in; sandboxes look at them at once.
    pub(crate) fn set_user(&self, user: UserId, settings: IdleSettings) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.insert(user, settings);
        drop(users);
        self.changed.send_replace(());
    }

    /// Tells of changes.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
