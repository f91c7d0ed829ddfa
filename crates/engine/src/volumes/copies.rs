//! What becomes of volumes when their sandbox is copied.
//!
//! A copy goes on with its volumes mounted, so it needs the same disks in the same places. What the
//! original could write to, the copy gets as a volume of its own, which goes away with it unless
//! it is detached before. What it could only read, the two share, if nobody may have written to it
//! since.

use std::sync::{Arc, Mutex, PoisonError};

use bhatti_store::attachment::{AttachedVolume, AttachmentRow};
use bhatti_store::error::StoreError;
use bhatti_store::store::Txn;
use bhatti_store::volume::{VolumeRow, VolumeStatus};
use bhatti_types::id::{SandboxId, UserId, VolumeId};
use bhatti_types::mount::{MAX_VOLUMES, MountPath};
use bhatti_types::name::{MAX_NAME, SandboxName, VolumeName};
use jiff::Timestamp;

use super::claims::Claims;
use crate::checkpoint::SavedVolume;

/// A volume that a sandbox is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) volume: VolumeId,
    pub(crate) mount: MountPath,
    pub(crate) read_only: bool,
}

/// The volumes that a new sandbox begins with. Recorded with it, in one transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewVolumes {
    wanted: Vec<Wanted>,
    copied: Vec<SavedVolume>,
    /// Claims on what is wanted, until it is recorded.
    claims: Arc<Mutex<Option<Claims>>>,
    /// Most storage of its owner's volumes, in MiB.
    limit: u32,
}

impl NewVolumes {
    /// Volumes that are there, claimed and checked.
    pub(crate) fn wanted(wanted: Vec<Wanted>, claims: Claims) -> Self {
        Self {
            wanted,
            claims: Arc::new(Mutex::new(Some(claims))),
            ..Self::default()
        }
    }

    /// Copies of a saved machine's volumes, with the limit on their owner's storage.
    pub(crate) fn copied(copied: Vec<SavedVolume>, limit: u32) -> Self {
        Self {
            copied,
            limit,
            ..Self::default()
        }
    }

    /// Records them for a sandbox that is being recorded.
    pub(crate) fn record(
        &self,
        txn: &Txn<'_>,
        user: &UserId,
        sandbox: &SandboxId,
        name: &SandboxName,
    ) -> Result<Vec<AttachedVolume>, StoreError> {
        for wanted in &self.wanted {
            attach(txn, sandbox, wanted)?;
        }
        for saved in &self.copied {
            let mut at = AttachmentRow {
                volume: saved.volume.clone(),
                sandbox: sandbox.clone(),
                slot: saved.slot,
                serial: saved.serial.clone(),
                mount: saved.mount.clone(),
                read_only: saved.read_only,
                owned: false,
            };
            if !is_as_it_was(txn, user, saved)? {
                let row = VolumeRow {
                    id: VolumeId::random(),
                    user: user.clone(),
                    name: free_name(txn, user, &saved.name, name)?,
                    status: VolumeStatus::Creating,
                    size: saved.size_mb,
                    generation: 0,
                    created_at: Timestamp::now(),
                };
                txn.volume_insert(&row, self.limit)?;
                (at.volume, at.owned) = (row.id, true);
            }
            txn.attach(&at)?;
        }
        txn.attached_to(sandbox)
    }

    /// Lets others decide about the volumes again: they are recorded, or will not be.
    pub(crate) fn release(&self) {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.take();
    }
}

/// Records that a sandbox has a volume, in its first free place.
pub(crate) fn attach(
    txn: &Txn<'_>,
    sandbox: &SandboxId,
    wanted: &Wanted,
) -> Result<AttachmentRow, StoreError> {
    let own = txn.attached_to(sandbox)?;
    let is_free = |slot: &u8| own.iter().all(|other| other.at.slot != *slot);
    // One too many is refused with words.
    let slot = (0..MAX_VOLUMES as u8).find(is_free);
    // A copy knows its volumes by the serial numbers of what they were copied from.
    let is_taken = |serial: &str| own.iter().any(|other| other.at.serial == serial);
    let mut serial = wanted.volume.to_string();
    while is_taken(&serial) {
        serial = VolumeId::random().to_string();
    }
    let at = AttachmentRow {
        volume: wanted.volume.clone(),
        sandbox: sandbox.clone(),
        slot: slot.unwrap_or(MAX_VOLUMES as u8),
        serial,
        mount: wanted.mount.clone(),
        read_only: wanted.read_only,
        owned: false,
    };
    txn.attach(&at)?;
    Ok(at)
}

/// Whether a volume that a saved machine could only read still has the contents that it had.
fn is_as_it_was(txn: &Txn<'_>, user: &UserId, saved: &SavedVolume) -> Result<bool, StoreError> {
    if !saved.read_only {
        return Ok(false);
    }
    let now = txn.volume_get(&saved.volume)?;
    Ok(now.is_some_and(|now| now.generation == saved.generation && now.user == *user))
}

/// A name for a copy: `<volume>-<sandbox>`, cut and numbered where need be.
fn free_name(
    txn: &Txn<'_>,
    user: &UserId,
    volume: &VolumeName,
    sandbox: &SandboxName,
) -> Result<VolumeName, StoreError> {
    let whole = format!("{volume}-{sandbox}");
    let mut number = 1u64;
    loop {
        let end = match number {
            1 => String::new(),
            _ => format!("-{number}"),
        };
        // Names are ASCII, so any place is a good one to cut.
        let begin = &whole[..whole.len().min(MAX_NAME - end.len())];
        let name: VolumeName = format!("{begin}{end}")
            .parse()
            .expect("two names, dashes and digits, cut to the longest length, make a name");
        if txn.volume_by_name(user, &name)?.is_none() {
            return Ok(name);
        }
        number += 1;
    }
}

/// What is saved of a machine's volumes with it.
pub(crate) fn saved(volumes: &[AttachedVolume]) -> Vec<SavedVolume> {
    let saved = |it: &AttachedVolume| SavedVolume {
        slot: it.at.slot,
        serial: it.at.serial.clone(),
        mount: it.at.mount.clone(),
        read_only: it.at.read_only,
        volume: it.at.volume.clone(),
        name: it.name.clone(),
        size_mb: it.size,
        generation: it.generation,
    };
    volumes.iter().map(saved).collect()
}

/// Whether a machine has the volumes that were saved with it, as disks in their places.
pub(crate) fn are_the_same(now: &[AttachedVolume], saved: &[SavedVolume]) -> bool {
    let alike = |(now, saved): (&AttachedVolume, &SavedVolume)| {
        (now.at.slot, &now.at.serial, &now.at.volume, &now.at.mount)
            == (saved.slot, &saved.serial, &saved.volume, &saved.mount)
            && now.at.read_only == saved.read_only
            && (!saved.read_only || now.generation == saved.generation)
    };
    now.len() == saved.len() && now.iter().zip(saved).all(alike)
}
