//! Calls about a guest's volumes.

use std::time::Duration;

use bhatti_proto::message::{FreezeVolume, MountVolume, VolumeAt, request};
use bhatti_types::mount::MountPath;

use crate::error::CallError;
use crate::link::Link;

/// A volume's disk in a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Serial number of the disk.
    pub serial: String,
    /// Where it is mounted.
    pub mount: MountPath,
    /// Whether nothing can be written to it.
    pub read_only: bool,
}

impl Volume {
    fn at(&self) -> VolumeAt {
        VolumeAt {
            serial: self.serial.clone(),
            path: self.mount.to_string(),
        }
    }
}

impl Link {
    /// Has a volume mounted, whose disk is there or about to come. Mounted already is success.
    pub async fn mount_volume(&self, volume: &Volume, limit: Duration) -> Result<(), CallError> {
        let op = request::Op::MountVolume(MountVolume {
            serial: volume.serial.clone(),
            path: volume.mount.to_string(),
            read_only: volume.read_only,
        });
        self.done("mount the volume", op, limit).await
    }

    /// Has a volume unmounted and its disk let go of. One that is in use is refused as
    /// [`crate::error::RefusedKind::Busy`].
    pub async fn unmount_volume(&self, volume: &Volume, limit: Duration) -> Result<(), CallError> {
        let op = request::Op::UnmountVolume(volume.at());
        self.done("unmount the volume", op, limit).await
    }

    /// Has the guest take notice that a volume's disk has become larger.
    pub async fn grow_volume(&self, volume: &Volume, limit: Duration) -> Result<(), CallError> {
        let op = request::Op::GrowVolume(volume.at());
        self.done("grow the volume", op, limit).await
    }

    /// Has a volume's file system write out all it holds and stand still, for `at_most`; then it
    /// goes on by itself.
    pub async fn freeze_volume(
        &self,
        volume: &Volume,
        at_most: Duration,
        limit: Duration,
    ) -> Result<(), CallError> {
        let op = request::Op::FreezeVolume(FreezeVolume {
            volume: Some(volume.at()),
            // 0 would be the opposite.
            limit_ms: (at_most.as_millis() as u64).max(1),
        });
        self.done("freeze the volume", op, limit).await
    }

    /// Lets a volume that stands still go on; refused if it went on by itself before.
    pub async fn thaw_volume(&self, volume: &Volume, limit: Duration) -> Result<(), CallError> {
        let op = request::Op::FreezeVolume(FreezeVolume {
            volume: Some(volume.at()),
            limit_ms: 0,
        });
        self.done("let the volume go on", op, limit).await
    }
}
