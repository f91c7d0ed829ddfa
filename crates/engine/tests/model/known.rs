//! What is known of the guests: which numbers they may remember.
//!
//! A write that was acknowledged is there; one that was not may be there. Memory may be given up
//! only for a reason, and then what is remembered is what was on the disk.

use std::collections::{BTreeMap, BTreeSet};

use bhatti_types::id::SandboxId;

use crate::daemon::Answer;
use crate::op::{Name, Snap};

/// Numbers one of which is remembered.
type Numbers = BTreeSet<u64>;

/// What a machine's memory and disk may hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Remembered {
    /// In memory, if it is still of the boot that is known.
    memory: Numbers,
    /// In memory if it has been booted since, where that was allowed.
    rebooted: Option<Numbers>,
    /// On the disk.
    disk: Numbers,
    /// The boot that is known.
    boot: Option<u64>,
}

impl Remembered {
    /// A machine made from the image.
    pub(crate) fn new() -> Self {
        let zero = Numbers::from([0]);
        Self {
            memory: zero.clone(),
            rebooted: None,
            disk: zero,
            boot: None,
        }
    }

    /// Memory may be gone, and what is there from the disk: there is a reason for it.
    pub(crate) fn may_reboot(&mut self) {
        let rebooted = self.rebooted.get_or_insert_default();
        rebooted.extend(&self.disk);
    }

    /// The same, somewhen between `before` and now, while `numbers` were written to memory.
    pub(crate) fn may_have_rebooted(&mut self, before: Option<&Self>, numbers: &[u64]) {
        self.may_reboot();
        let rebooted = self.rebooted.get_or_insert_default();
        rebooted.extend(numbers);
        if let Some(before) = before {
            rebooted.extend(&before.disk);
        }
    }

    /// Numbers were written to memory. If none of them was acknowledged the old one may be there.
    pub(crate) fn remember(&mut self, acknowledged: &[u64], others: &[u64]) {
        write(&mut self.memory, acknowledged, others);
        if let Some(rebooted) = &mut self.rebooted {
            write(rebooted, acknowledged, others);
        }
    }

    /// Numbers were written to the disk.
    pub(crate) fn store(&mut self, acknowledged: &[u64], others: &[u64]) {
        write(&mut self.disk, acknowledged, others);
    }

    /// Either of two.
    pub(crate) fn or(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.memory.extend(&other.memory);
        both.disk.extend(&other.disk);
        if let Some(rebooted) = &other.rebooted {
            both.rebooted.get_or_insert_default().extend(rebooted);
        }
        if both.boot != other.boot {
            both.boot = None;
        }
        both
    }

    /// Whether a guest may say this.
    pub(crate) fn hear(&self, answer: &Answer) -> Result<(), String> {
        let Answer::Said {
            boot, memory, disk, ..
        } = answer
        else {
            return Err("it is no answer of a guest".to_owned());
        };
        if !self.disk.contains(disk) {
            return Err(format!("the disk holds {disk}, not one of {:?}", self.disk));
        }
        let same = self.boot.is_none_or(|known| known == *boot) && self.memory.contains(memory);
        let again = self.boot.is_none_or(|known| known != *boot)
            && self
                .rebooted
                .as_ref()
                .is_some_and(|rebooted| rebooted.contains(memory));
        if same || again {
            return Ok(());
        }
        Err(format!(
            "memory of boot {boot} holds {memory}; known are boot {:?} with {:?}, or {:?} after \
             another boot",
            self.boot, self.memory, self.rebooted
        ))
    }

    /// A guest has said this, and nothing else was going on.
    pub(crate) fn learn(&mut self, answer: &Answer) {
        if let Answer::Said {
            boot, memory, disk, ..
        } = answer
        {
            *self = Self {
                memory: Numbers::from([*memory]),
                rebooted: None,
                disk: Numbers::from([*disk]),
                boot: Some(*boot),
            };
        }
    }
}

fn write(numbers: &mut Numbers, acknowledged: &[u64], others: &[u64]) {
    if !acknowledged.is_empty() {
        numbers.clear();
    }
    numbers.extend(acknowledged);
    numbers.extend(others);
}

/// A sandbox that is known to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    pub(crate) id: SandboxId,
    pub(crate) remembered: Remembered,
    /// A destroy was asked for and may have begun.
    pub(crate) going: bool,
}

/// All that is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) guests: BTreeMap<Name, Guest>,
    pub(crate) snaps: BTreeMap<Snap, Remembered>,
}
