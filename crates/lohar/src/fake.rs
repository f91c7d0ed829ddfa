//! Effects that are only remembered, for an agent that runs inside another process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bhatti_proto::message::{Identity, NextTimerReply};
use tokio::sync::watch;

use crate::system::{System, SystemError};

/// A system that remembers what was done to it.
#[derive(Debug)]
pub struct FakeSystem {
    state: Mutex<State>,
    power_off: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    identities: Vec<Identity>,
    syncs: u32,
    clock: Option<u64>,
    next_timer: NextTimerReply,
    refuse_identity: bool,
    log_dir: Option<PathBuf>,
    frozen: bool,
    refuse_freeze: bool,
    freezes: u32,
}

impl Default for FakeSystem {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            power_off: watch::Sender::new(false),
        }
    }
}

impl FakeSystem {
    /// The identities it was given, in order.
    pub fn identities(&self) -> Vec<Identity> {
        self.state().identities.clone()
    }

    /// How often it was asked to flush its disks.
    pub fn syncs(&self) -> u32 {
        self.state().syncs
    }

    /// The time its clock was last set to, in nanoseconds since 1970.
    pub fn clock(&self) -> Option<u64> {
        self.state().clock
    }

    /// From now on, refuses identities or takes them again.
    pub fn refuse_identity(&self, refuse: bool) {
        self.state().refuse_identity = refuse;
    }

    /// From now on, refuses to be frozen or lets itself be.
    pub fn refuse_freeze(&self, refuse: bool) {
        self.state().refuse_freeze = refuse;
    }

    /// Whether its writes are held.
    pub fn is_frozen(&self) -> bool {
        self.state().frozen
    }

    /// How often it was frozen.
    pub fn freezes(&self) -> u32 {
        self.state().freezes
    }

    /// From now on, gives this as what next wants to run.
    pub fn set_next_timer(&self, next: NextTimerReply) {
        self.state().next_timer = next;
    }

    /// Keeps what the program writes in this directory. To be said before there is an agent.
    pub fn keep_log_in(&self, dir: &Path) {
        self.state().log_dir = Some(dir.to_owned());
    }

    /// Waits until it was asked to power off.
    pub async fn powered_off(&self) {
        // The sender is in `self`, so it is not gone.
        let _ = self.power_off.subscribe().wait_for(|off| *off).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl System for FakeSystem {
    fn set_clock(&self, unix_nanos: u64) -> Result<(), SystemError> {
        self.state().clock = Some(unix_nanos);
        Ok(())
    }

    fn take_identity(&self, identity: &Identity, _generation: u64) -> Result<(), SystemError> {
        let mut state = self.state();
        if state.refuse_identity {
            return Err(SystemError {
                what: "set the host name",
                source: std::io::ErrorKind::PermissionDenied.into(),
            });
        }
        state.identities.push(identity.clone());
        Ok(())
    }

    fn next_timer(&self) -> NextTimerReply {
        self.state().next_timer.clone()
    }

    fn sync(&self) {
        self.state().syncs += 1;
    }

    fn freeze(&self) -> Result<(), SystemError> {
        let mut state = self.state();
        if state.frozen || state.refuse_freeze {
            return Err(SystemError {
                what: "freeze the root file system",
                source: std::io::ErrorKind::ResourceBusy.into(),
            });
        }
        state.frozen = true;
        state.freezes += 1;
        Ok(())
    }

    fn thaw(&self) -> Result<(), SystemError> {
        self.state().frozen = false;
        Ok(())
    }

    fn power_off(&self) {
        self.power_off.send_replace(true);
    }

    fn init(&self) -> &'static str {
        "lohar"
    }

    fn settle(&self, _limit: Duration) -> String {
        String::new()
    }

    fn log_dir(&self) -> Option<PathBuf> {
        self.state().log_dir.clone()
    }

    fn run_dir(&self) -> Option<PathBuf> {
        None
    }
}
