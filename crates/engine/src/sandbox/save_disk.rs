//! What a sandbox's task does for an image of it: a copy of its disk, as whole as if it had been
//! unmounted.
//!
//! A running machine's root file system is frozen from inside for as long as the copy takes, which
//! where blocks are shared is a moment: the journal is then empty and nothing half-written. A guest
//! whose file system can't be frozen writes it out and stands still meanwhile; its copy is what a
//! power cut would leave, and is repaired by its journal. So is the copy of a machine that sleeps
//! or is off: it wrote its file systems out before.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bhatti_guest::link::{CallError, Link};
use bhatti_lifecycle::decide::{Denied, Request};
use bhatti_lifecycle::state::State;
use bhatti_vmm::machine::file as machine_file;

use super::actor::Actor;
use super::files::{blocking, clone};
use super::steps::{CALL_LIMIT, set_clock};
use crate::error::Error;

/// When a guest goes on by itself that nobody came back to: longer than a whole disk is copied on
/// a file system that can't share blocks.
const THAWS_AFTER: Duration = Duration::from_mins(4);
/// Time for a guest to write out what is dirty and freeze.
const FREEZE_LIMIT: Duration = Duration::from_mins(1);

/// How a disk was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SavedDisk {
    /// For how long nothing could be written to it; zero if nothing ran.
    pub(crate) held: Duration,
}

impl Actor {
    /// Copies the disk to a file that is not there yet. A machine on disk is not woken for it.
    pub(super) async fn save_disk(&mut self, to: PathBuf) -> Result<SavedDisk, Error> {
        match self.work.state() {
            State::Hot => {}
            // Its vCPUs stand still in the middle of things: it goes on for a moment.
            State::Warm => self.wake(Request::Wake).await?,
            State::Cold | State::Off => {
                self.copy_disk(&to).await?;
                return Ok(SavedDisk {
                    held: Duration::ZERO,
                });
            }
            // Its machine may still be running, and write.
            State::Failed => return Err(self.denied(Denied::Failed)),
            State::Creating => return Err(self.denied(Denied::BeingCreated)),
            State::Destroying => return Err(self.denied(Denied::BeingDestroyed)),
        }
        // Its link may have been lost.
        self.wake(Request::Wake).await?;
        let link = self.work.link()?.clone();
        self.work.settle_disk().await?;
        let begun = Instant::now();
        match link.freeze(THAWS_AFTER, FREEZE_LIMIT).await {
            Ok(()) => {}
            Err(CallError::Refused { message, .. }) => {
                tracing::info!(
                    sandbox = %self.work.row.id,
                    message,
                    "its file system can't be frozen: the machine stands still instead"
                );
                return self.copy_standing(&link, &to).await;
            }
            Err(error) => {
                // It may still come to it.
                thaw(&link).await;
                return Err(error.into());
            }
        }
        let copied = self.copy_disk(&to).await;
        let thawed = link.thaw(CALL_LIMIT).await;
        copied?;
        thawed.map_err(|error| {
            Error::failed("the disk was written to while it was being copied", error)
        })?;
        Ok(SavedDisk {
            held: begun.elapsed(),
        })
    }

    /// Copies the disk while the machine stands still.
    async fn copy_standing(&mut self, link: &Link, to: &Path) -> Result<SavedDisk, Error> {
        link.sync(FREEZE_LIMIT).await?;
        let machine = self.work.machine()?.clone();
        let begun = Instant::now();
        machine.pause().await?;
        let copied = self.copy_disk(to).await;
        machine.resume().await?;
        let held = begun.elapsed();
        set_clock(link).await;
        copied?;
        Ok(SavedDisk { held })
    }

    async fn copy_disk(&self, to: &Path) -> Result<(), Error> {
        let from = self
            .work
            .ctx
            .layout
            .sandbox(&self.work.row.id)
            .join(machine_file::DISK);
        let to = to.to_owned();
        blocking(move || clone(&from, &to)).await
    }
}

/// Thaws what may have been frozen.
async fn thaw(link: &Link) {
    if let Err(error) = link.thaw(CALL_LIMIT).await {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "it was not frozen, or thaws by itself"
        );
    }
}
