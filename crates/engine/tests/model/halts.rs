//! Machines that stop by themselves.

use bhatti_lifecycle::state::State;
use bhatti_vmm::machine::Halt;

use crate::batch::Batch;
use crate::found::state;
use crate::op::Name;
use crate::world::{World, Wrong};

impl World {
    /// The host has no room for what a guest writes.
    pub(crate) fn halt(&mut self, name: Name) -> Result<(), Wrong> {
        let Some(guest) = self.known.guests.get(&name) else {
            return Ok(());
        };
        let halted = self.host.halt_machine(&guest.id, Halt::DiskFull);
        self.settle()?;
        self.conclude(&Batch::default())?;
        let found = self.found();
        let Some(row) = found.row(name).filter(|_| halted) else {
            return Ok(());
        };
        let says_why = row.reason.as_deref().unwrap_or_default();
        if state(row) != State::Warm || !says_why.contains("no room") {
            return Err(format!("{name:?} stands still, and is shown as {row:?}"));
        }
        Ok(())
    }
}
