//! The states of a sandbox.
//!
//! ```text
//!             create, resume                stop
//!  (nothing) ───────► Creating ──► Hot ◄─────────────► Cold    memory on disk
//!                        │          │ ▲   start, wake    │
//!                        │          │ │ start            │ start --force
//!                     (nothing)     ▼ │                  │
//!                                  Off ◄─────────────────┘    no memory: boots from the disk
//!
//!  Warm is Hot with its vCPUs paused.    Failed: only `start --force` and destroy go on from it.
//!  Destroying is reached from everywhere and left only into nothing.
//! ```

use bhatti_types::state::{Status, Thermal};

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Being made. Nothing of it survives a failure.
    Creating,
    /// It has a VMM whose vCPUs run.
    Hot,
    /// It has a VMM whose vCPUs are paused.
    Warm,
    /// Its memory is in a cold image, which has not been used.
    Cold,
    /// It has a disk only.
    Off,
    /// It can't go on without someone's decision.
    Failed,
    /// Being taken away.
    Destroying,
}

impl State {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 7] = [
        Self::Creating,
        Self::Hot,
        Self::Warm,
        Self::Cold,
        Self::Off,
        Self::Failed,
        Self::Destroying,
    ];

    /// The two words that users see.
    pub const fn shown(self) -> (Status, Thermal) {
        match self {
            Self::Creating => (Status::Creating, Thermal::Off),
            Self::Hot => (Status::Running, Thermal::Hot),
            Self::Warm => (Status::Running, Thermal::Warm),
            Self::Cold => (Status::Stopped, Thermal::Cold),
            Self::Off => (Status::Stopped, Thermal::Off),
            Self::Failed => (Status::Failed, Thermal::Off),
            Self::Destroying => (Status::Destroying, Thermal::Off),
        }
    }

    /// The state behind the two words, as they are stored.
    pub const fn from_shown(status: Status, thermal: Thermal) -> Self {
        match (status, thermal) {
            (Status::Creating, _) => Self::Creating,
            (Status::Running, Thermal::Warm) => Self::Warm,
            (Status::Running, Thermal::Hot | Thermal::Cold | Thermal::Off) => Self::Hot,
            (Status::Stopped, Thermal::Cold) => Self::Cold,
            (Status::Stopped, Thermal::Hot | Thermal::Warm | Thermal::Off) => Self::Off,
            (Status::Failed, _) => Self::Failed,
            (Status::Destroying, _) => Self::Destroying,
        }
    }

    /// Whether a VMM belongs to it.
    pub const fn has_machine(self) -> bool {
        match self {
            Self::Hot | Self::Warm => true,
            Self::Creating | Self::Cold | Self::Off | Self::Failed | Self::Destroying => false,
        }
    }
}

#[cfg(test)]
mod test {
    use super::State;

    #[test]
    fn what_is_shown_leads_back_to_the_state() {
        for state in State::ALL {
            let (status, thermal) = state.shown();
            assert_eq!(State::from_shown(status, thermal), state);
        }
    }
}
