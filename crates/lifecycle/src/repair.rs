//! What is to be done at the start of a daemon about what the last one left behind.
//!
//! The rules read three things: the records, the processes that carry this data directory's
//! mark, and the directories that are there. The journal is not needed to decide, only to tell
//! what was under way.

use std::collections::BTreeMap;

use bhatti_types::id::{SandboxId, SnapshotId};

use crate::state::State;

/// What is found at the start.
#[derive(Debug, Clone, Default)]
pub struct Inventory<P> {
    /// The recorded sandboxes.
    pub sandboxes: BTreeMap<SandboxId, SandboxFound<P>>,
    /// The processes, by the sandbox they say they are.
    pub processes: Vec<(SandboxId, P)>,
    /// Directories under `sandboxes/`.
    pub sandbox_directories: Vec<SandboxId>,
    /// The recorded checkpoints, and whether the record says that they are ready.
    pub snapshots: BTreeMap<SnapshotId, SnapshotFound>,
    /// Directories under `snapshots/`.
    pub snapshot_directories: Vec<SnapshotId>,
}

/// A recorded sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxFound<P> {
    /// The recorded state.
    pub state: State,
    /// The recorded process of its machine.
    pub process: Option<P>,
    /// Its cold image.
    pub cold: ColdFound,
    /// Whether its machine was started before the host's last boot.
    pub before_boot: bool,
}

/// What is known of a cold image without reading all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColdFound {
    /// It is whole, or can't be told from here: it can't be read now, or is of a newer version.
    /// The next wake tells.
    Kept,
    /// There is none.
    Missing,
    /// It is there and is not what it was.
    Damaged,
}

/// A recorded checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotFound {
    /// Whether the record says that it is ready.
    pub ready: bool,
}

/// One repair. Each can be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair<P> {
    /// End a process that nobody wants.
    EndProcess(P),
    /// Take up a running machine, and let its vCPUs run if its state says so.
    Adopt {
        /// The sandbox.
        sandbox: SandboxId,
        /// Its process.
        process: P,
    },
    /// Record that it is off, with a reason for its owner.
    MarkOff {
        /// The sandbox.
        sandbox: SandboxId,
        /// The reason.
        reason: &'static str,
    },
    /// Record that it has failed, with a reason for its owner; nothing of it is deleted.
    MarkFailed {
        /// The sandbox.
        sandbox: SandboxId,
        /// The reason.
        reason: &'static str,
    },
    /// Delete a cold image that is spent, or was never whole.
    RemoveCold(SandboxId),
    /// Delete a sandbox's directory.
    RemoveDirectory(SandboxId),
    /// Delete a sandbox's record.
    Forget(SandboxId),
    /// Delete a checkpoint's directory.
    RemoveSnapshotDirectory(SnapshotId),
    /// Delete a checkpoint's record.
    ForgetSnapshot(SnapshotId),
}

/// Told when a machine was gone at the start of the daemon.
pub const REASON_GONE: &str =
    "the machine ended while the daemon was not running; it boots from its disk at the next start";
/// Told when a machine was awake as the host went down.
pub const REASON_HOST: &str = "the host went down before the machine was asleep, and its memory \
    is lost; it boots from its disk at the next start";
/// Told when a recorded cold image is not there.
pub const REASON_NO_IMAGE: &str =
    "the sleeping memory is missing; it boots from its disk at the next start";
/// Told when a recorded cold image is not what it was.
pub const REASON_DAMAGED: &str =
    "the sleeping memory is damaged; `bhatti start --force` boots from the disk without it";

/// Plans the repairs, in the order they are to be done: processes first, so that nothing is
/// deleted under a VMM.
pub fn plan_repairs<P: Copy + PartialEq>(found: &Inventory<P>) -> Vec<Repair<P>> {
    let mut repairs = Vec::new();
    let mut taken_up: Vec<&SandboxId> = Vec::new();
    for (sandbox, process) in &found.processes {
        let wanted = found.sandboxes.get(sandbox).is_some_and(|found| {
            match found.state {
                State::Hot | State::Warm => {
                    found.process.is_none_or(|recorded| recorded == *process)
                }
                // One that did not answer the last daemon, and was left.
                State::Failed => found.process == Some(*process),
                State::Creating | State::Cold | State::Off | State::Destroying => false,
            }
        });
        if wanted && !taken_up.contains(&sandbox) {
            taken_up.push(sandbox);
            repairs.push(Repair::Adopt {
                sandbox: sandbox.clone(),
                process: *process,
            });
        } else {
            repairs.push(Repair::EndProcess(*process));
        }
    }
    for (id, sandbox) in &found.sandboxes {
        match sandbox.state {
            State::Creating | State::Destroying => {
                repairs.push(Repair::RemoveDirectory(id.clone()));
                repairs.push(Repair::Forget(id.clone()));
            }
            State::Hot | State::Warm => {
                if !taken_up.contains(&id) {
                    let reason = if sandbox.before_boot {
                        REASON_HOST
                    } else {
                        REASON_GONE
                    };
                    repairs.push(Repair::MarkOff {
                        sandbox: id.clone(),
                        reason,
                    });
                }
                // Spent, or a sleep that was not finished.
                repairs.push(Repair::RemoveCold(id.clone()));
            }
            State::Cold => match sandbox.cold {
                ColdFound::Kept => {}
                ColdFound::Missing => {
                    let reason = REASON_NO_IMAGE;
                    repairs.push(Repair::MarkOff {
                        sandbox: id.clone(),
                        reason,
                    });
                }
                ColdFound::Damaged => {
                    let reason = REASON_DAMAGED;
                    repairs.push(Repair::MarkFailed {
                        sandbox: id.clone(),
                        reason,
                    });
                }
            },
            State::Off => repairs.push(Repair::RemoveCold(id.clone())),
            State::Failed => {}
        }
    }
    for id in &found.sandbox_directories {
        if !found.sandboxes.contains_key(id) {
            repairs.push(Repair::RemoveDirectory(id.clone()));
        }
    }
    for (id, snapshot) in &found.snapshots {
        if !snapshot.ready {
            repairs.push(Repair::RemoveSnapshotDirectory(id.clone()));
            repairs.push(Repair::ForgetSnapshot(id.clone()));
        }
    }
    for id in &found.snapshot_directories {
        if !found.snapshots.contains_key(id) {
            repairs.push(Repair::RemoveSnapshotDirectory(id.clone()));
        }
    }
    repairs
}
