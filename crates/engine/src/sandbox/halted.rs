//! Machines whose vCPUs stop without anybody having paused them.
//!
//! A guest that writes to a disk for which the host has no room is stopped by its VMM, and goes on
//! where it was when it is let run and there is room. Such a machine is warm, as its record says
//! at once, with the reason. The next request lets it go on; while commands are under way in it
//! nobody else would ask, so its task tries again.

use std::sync::Arc;
use std::time::Duration;

use bhatti_lifecycle::decide::Request;
use bhatti_lifecycle::state::State;
use bhatti_vmm::machine::{Halt, Machine, RunState};

use super::actor::Actor;
use super::work::Work;
use crate::error::Error;

/// How often a machine that somebody waits for is let run again. If there is still no room it stops
/// again, which costs next to nothing.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// How much room on the host's disk is made for it, where templates can be given up, in bytes.
const ROOM: u64 = 64 << 20;

/// What its owner is told.
const fn told(halt: Halt) -> &'static str {
    match halt {
        Halt::DiskFull => {
            "the host has no room for what it writes to its disk: it stands still, and goes on with \
             the next request once there is room"
        }
        Halt::DiskFailed => {
            "the host failed to write its disk: it stands still, and tries again with the next \
             request"
        }
        Halt::Unknown => {
            "its machine stopped for a reason that its monitor did not give; it goes on with the \
             next request"
        }
    }
}

/// Waits until a machine that is meant to run stands still; for ever if it is not meant to.
pub(super) async fn halted(state: State, machine: Option<Arc<dyn Machine>>) -> Halt {
    match machine {
        Some(machine) if state == State::Hot => machine.halted().await,
        _ => std::future::pending().await,
    }
}

/// An error for who waits for a guest that stands still.
pub(super) fn stands_still(halt: Halt) -> Error {
    let hint = match halt {
        Halt::DiskFull => "make room on the host's disk, then try again",
        Halt::DiskFailed | Halt::Unknown => "the daemon's log and the host's may say more",
    };
    let message = match halt {
        Halt::DiskFull => "the guest stands still: the host has no room for what it writes",
        Halt::DiskFailed => "the guest stands still: the host failed to write its disk",
        Halt::Unknown => "the guest stands still",
    };
    Error::Unavailable {
        message: message.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

impl Actor {
    /// Its vCPUs have stopped of themselves.
    pub(super) async fn has_halted(&mut self, halt: Halt) {
        let Some(machine) = self.work.machine.clone() else {
            return;
        };
        let sandbox = self.work.row.id.clone();
        match machine.run_state().await {
            // It was let run meanwhile.
            Ok(RunState::Running) => return,
            Ok(RunState::Paused) => {
                tracing::warn!(%sandbox, ?halt, "the machine stopped by itself");
                self.work.leases.close();
                self.work.row.reason = Some(told(halt).to_owned());
                self.work.halted = Some(halt);
            }
            // Its VMM can't go on from here.
            Ok(RunState::Over) => {
                tracing::error!(%sandbox, ?halt, "the machine broke down");
                if let Err(error) = machine.kill().await {
                    tracing::error!(%sandbox, %error, "it could not be ended");
                }
                // That it ended is seen next.
                return;
            }
            Err(error) => {
                tracing::error!(
                    %sandbox,
                    error = &error as &dyn std::error::Error,
                    "it is not known how the machine is"
                );
                self.work.leases.close();
                self.work.row.reason = Some(told(Halt::Unknown).to_owned());
            }
        }
        if let Err(error) = self.work.note(State::Warm).await {
            tracing::error!(
                %sandbox,
                error = &error as &dyn std::error::Error,
                "that it stands still was not recorded"
            );
            (self.work.row.status, self.work.row.thermal) = State::Warm.shown();
        }
    }

    /// Waits until a machine that stands still for want of room is to be tried again.
    pub(super) fn wait_to_try_again(&self) -> impl Future<Output = ()> + use<> {
        let wanted = self.work.halts_for_room() && self.work.leases.usage().0 > 0;
        async move {
            if wanted {
                tokio::time::sleep(TRY_AGAIN).await;
            } else {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Lets it go on, if it can.
    pub(super) async fn try_again(&mut self) {
        // Whether there is room for this one is found out by trying.
        let _ = self.work.ctx.room_on_disk(ROOM).await;
        if let Err(error) = self.wake(Request::Wake).await {
            tracing::warn!(
                sandbox = %self.work.row.id,
                error = &error as &dyn std::error::Error,
                "it still stands still"
            );
        }
    }
}

impl Work {
    fn halts_for_room(&self) -> bool {
        self.state() == State::Warm && self.halted == Some(Halt::DiskFull)
    }
}
