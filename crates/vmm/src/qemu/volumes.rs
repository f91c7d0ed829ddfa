//! Volumes' disks: on the command line and by the control protocol, the same in both.

use std::time::Duration;

use serde_json::{Value, json};

use super::machine::QemuMachine;
use crate::error::VmmError;
use crate::machine::VolumeDisk;

/// How long a file may be in use after its disk was pulled out.
const RELEASE_LIMIT: Duration = Duration::from_secs(10);
/// The pause between two attempts to let go of it.
const RELEASE_PAUSE: Duration = Duration::from_millis(5);

/// The name of a disk's file in QEMU.
fn node_name(slot: u8) -> String {
    format!("volume-{slot}")
}

/// The name of a disk in QEMU.
fn device_name(slot: u8) -> String {
    format!("volume-disk-{slot}")
}

/// The file of a disk, for `-blockdev` and `blockdev-add`. JSON, for a path may hold anything.
pub(super) fn node(volume: &VolumeDisk) -> Value {
    json!({
        "driver": "raw",
        "node-name": node_name(volume.slot),
        "read-only": volume.read_only,
        "discard": "unmap",
        "file": {
            "driver": "file",
            "filename": volume.path.to_string_lossy(),
            "read-only": volume.read_only,
            "locking": "on",
            "discard": "unmap",
        },
    })
}

/// A disk, for `-device` and `device_add`. Each is a target of its own, so that none has to be
/// there for another to be found.
pub(super) fn device(volume: &VolumeDisk) -> Value {
    json!({
        "driver": "scsi-hd",
        "id": device_name(volume.slot),
        "bus": "scsi.0",
        "scsi-id": volume.slot,
        "lun": 0,
        "drive": node_name(volume.slot),
        "serial": volume.serial,
    })
}

impl QemuMachine {
    /// Whether something of QEMU's that plugging made is there.
    async fn has_device(&self, slot: u8) -> Result<bool, VmmError> {
        let arguments = json!({ "path": "/machine/peripheral" });
        let list = self.command("qom-list", arguments).await?;
        Ok(has(&list, "name", &device_name(slot)))
    }

    async fn has_node(&self, slot: u8) -> Result<bool, VmmError> {
        let arguments = json!({ "flat": true });
        let list = self.command("query-named-block-nodes", arguments).await?;
        Ok(has(&list, "node-name", &node_name(slot)))
    }

    pub(super) async fn plug_volume(&self, volume: &VolumeDisk) -> Result<(), VmmError> {
        if self.has_device(volume.slot).await? {
            let path = format!("/machine/peripheral/{}", device_name(volume.slot));
            let arguments = json!({ "path": path, "property": "serial" });
            let serial = self.command("qom-get", arguments).await?;
            if serial.as_str() == Some(&volume.serial) {
                return Ok(());
            }
        }
        // Another's, or half of one.
        self.unplug_volume(volume.slot).await?;
        self.command("blockdev-add", node(volume)).await?;
        let added = self.command("device_add", device(volume)).await;
        if added.is_err() {
            // Its error says what was wrong.
            let _ = self.unplug_volume(volume.slot).await;
        }
        added.map(drop)
    }

    pub(super) async fn unplug_volume(&self, slot: u8) -> Result<(), VmmError> {
        if self.has_device(slot).await? {
            let arguments = json!({ "id": device_name(slot) });
            self.command("device_del", arguments).await?;
        }
        let end = tokio::time::Instant::now() + RELEASE_LIMIT;
        while self.has_node(slot).await? {
            let arguments = json!({ "node-name": node_name(slot) });
            match self.command("blockdev-del", arguments).await {
                Ok(_) => {}
                // In use, for the disk goes away a little later than the command that says so.
                Err(VmmError::Refused { .. }) if tokio::time::Instant::now() < end => {
                    tokio::time::sleep(RELEASE_PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) async fn grow_volume(&self, slot: u8, bytes: u64) -> Result<(), VmmError> {
        let arguments = json!({ "node-name": node_name(slot), "size": bytes });
        self.command("block_resize", arguments).await.map(drop)
    }
}

/// Whether a list has something with this name.
fn has(list: &Value, key: &str, name: &str) -> bool {
    let entries = list.as_array().into_iter().flatten();
    let mut names = entries.filter_map(|entry| entry.get(key)?.as_str());
    names.any(|found| found == name)
}
