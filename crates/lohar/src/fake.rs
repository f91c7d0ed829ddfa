//! Effects that are only remembered, for an agent that runs inside another process.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bhatti_proto::message::{Identity, MountVolume, NextTimerReply, VolumeAt};
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
    /// Disks by serial number.
    disks: BTreeMap<String, FakeDisk>,
}

/// A disk of a fake system's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FakeDisk {
    /// Where it is mounted.
    pub mounted: Option<String>,
    /// Whether it stands still.
    pub frozen: bool,
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

    /// Plugs a disk in.
    pub fn plug(&self, serial: &str) {
        self.state().disks.entry(serial.to_owned()).or_default();
    }

    /// Plugs a disk in that is mounted, as in a machine that goes on.
    pub fn plug_mounted(&self, serial: &str, path: &str) {
        let disk = FakeDisk {
            mounted: Some(path.to_owned()),
            frozen: false,
        };
        self.state().disks.insert(serial.to_owned(), disk);
    }

    /// Pulls a disk out; whether it was unmounted before.
    pub fn unplug(&self, serial: &str) -> bool {
        let disk = self.state().disks.remove(serial);
        disk.is_none_or(|disk| disk.mounted.is_none())
    }

    /// Its disks by serial number, the root disk not among them.
    pub fn disks(&self) -> BTreeMap<String, FakeDisk> {
        self.state().disks.clone()
    }

    fn disk<T>(
        &self,
        what: &'static str,
        serial: &str,
        work: impl FnOnce(&mut FakeDisk) -> io::Result<T>,
    ) -> Result<T, SystemError> {
        let failed = |source| SystemError { what, source };
        match self.state().disks.get_mut(serial) {
            Some(disk) => work(disk).map_err(failed),
            None => Err(failed(io::ErrorKind::NotFound.into())),
        }
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
                source: io::ErrorKind::PermissionDenied.into(),
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

    fn mount_volume(&self, volume: &MountVolume) -> Result<(), SystemError> {
        self.disk("mount a volume", &volume.serial, |disk| {
            disk.mounted = Some(volume.path.clone());
            Ok(())
        })
    }

    fn unmount_volume(&self, volume: &VolumeAt) -> Result<(), SystemError> {
        // One that is not there is unmounted.
        if let Some(disk) = self.state().disks.get_mut(&volume.serial) {
            disk.mounted = None;
        }
        Ok(())
    }

    fn grow_volume(&self, volume: &VolumeAt) -> Result<(), SystemError> {
        self.disk("grow a volume", &volume.serial, |_| Ok(()))
    }

    fn freeze_volume(&self, volume: &VolumeAt) -> Result<(), SystemError> {
        self.disk("freeze a volume", &volume.serial, |disk| {
            disk.frozen = true;
            Ok(())
        })
    }

    fn thaw_volume(&self, volume: &VolumeAt) -> Result<(), SystemError> {
        self.disk("let a volume go on", &volume.serial, |disk| {
            if std::mem::take(&mut disk.frozen) {
                Ok(())
            } else {
                Err(io::ErrorKind::InvalidInput.into())
            }
        })
    }

    fn freeze(&self) -> Result<(), SystemError> {
        let mut state = self.state();
        if state.frozen || state.refuse_freeze {
            return Err(SystemError {
                what: "freeze the root file system",
                source: io::ErrorKind::ResourceBusy.into(),
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
