//! The effects that an agent has on the system it is in, apart from running commands.

use std::io;
use std::path::PathBuf;

use std::time::Duration;

use bhatti_proto::message::{Identity, MountVolume, NextTimerReply, VolumeAt};

/// An effect that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {what}")]
pub struct SystemError {
    /// What was to be done.
    pub what: &'static str,
    /// Why it was not.
    #[source]
    pub source: io::Error,
}

/// Effects on the whole system. Real for a guest's PID 1, else [`crate::fake::FakeSystem`].
pub trait System: Send + Sync + std::fmt::Debug {
    /// Becomes the machine that the identity describes. Called again with the same identity, it
    /// changes nothing. `generation` counts the identities taken since the boot.
    ///
    /// Blocking; an error leaves the rest of the identity taken as far as possible.
    fn take_identity(&self, identity: &Identity, generation: u64) -> Result<(), SystemError>;

    /// Sets the wall clock, in nanoseconds since 1970.
    fn set_clock(&self, unix_nanos: u64) -> Result<(), SystemError>;

    /// When something next wants to run by the wall clock. What cannot be read is passed over.
    ///
    /// Blocking, for a few seconds at most unless a disk hangs.
    fn next_timer(&self) -> NextTimerReply;

    /// Writes all file systems to their disks. Blocking.
    fn sync(&self);

    /// Mounts a volume, once its disk is there, and grows it to its disk if it can be written to.
    /// Mounted there already is success. Blocking, for as long as a disk may take to appear.
    fn mount_volume(&self, volume: &MountVolume) -> Result<(), SystemError>;

    /// Unmounts a volume, has its disk write out what it holds, and lets go of the disk. Not
    /// there is success; in use is an error of the kind `ResourceBusy`, and it is still mounted.
    /// Blocking.
    fn unmount_volume(&self, volume: &VolumeAt) -> Result<(), SystemError>;

    /// Looks again how large a volume's disk is, and grows its file system to it. Blocking.
    fn grow_volume(&self, volume: &VolumeAt) -> Result<(), SystemError>;

    /// Has a volume's file system write out all it holds and stand still. Blocking.
    fn freeze_volume(&self, volume: &VolumeAt) -> Result<(), SystemError>;

    /// Lets a volume that stands still go on; an error if it does not stand still. Blocking.
    fn thaw_volume(&self, volume: &VolumeAt) -> Result<(), SystemError>;
    /// Writes the root file system out and holds all writes to it until [`System::thaw`].
    ///
    /// Blocking: what is dirty is written first.
    fn freeze(&self) -> Result<(), SystemError>;

    /// Lets writes to the root file system go on. Blocking, but writes little.
    fn thaw(&self) -> Result<(), SystemError>;

    /// Begins the power-off and returns at once.
    fn power_off(&self);

    /// What process 1 is: `lohar` or `systemd`.
    fn init(&self) -> &'static str;

    /// Waits until the system is up, at most as long as `limit`, and gives the init's word for
    /// how it is; an empty one if the agent itself is the init. Blocking.
    fn settle(&self, limit: Duration) -> String;

    /// Where to keep what the program writes that the machine keeps running; nowhere if `None`.
    fn log_dir(&self) -> Option<PathBuf>;

    /// Where to keep what is of this boot only; nowhere if `None`.
    fn run_dir(&self) -> Option<PathBuf>;
}
