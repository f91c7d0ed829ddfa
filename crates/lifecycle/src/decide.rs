//! Which request is done in which state, and by which plan.

use crate::plan::PlanKind;
use crate::state::State;

/// What is asked of a sandbox that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// Be hot: someone wants to run a command or reach a port.
    Wake,
    /// Be hot, by hand.
    Start {
        /// Give up the sleeping memory, or a failure, and boot from the disk.
        force: bool,
    },
    /// Have the vCPUs paused.
    Pause,
    /// Go to disk, memory and all.
    Stop,
    /// Be captured as a checkpoint.
    Checkpoint,
    /// Be captured for copies that go on at once.
    Fork,
    /// Be put back to one of its checkpoints.
    Rollback {
        /// Also if what it is now can't be kept as a checkpoint.
        force: bool,
    },
    /// Go away.
    Destroy,
}

impl Request {
    /// All of them, for tables and tests.
    pub const ALL: [Self; 10] = [
        Self::Wake,
        Self::Start { force: false },
        Self::Start { force: true },
        Self::Pause,
        Self::Stop,
        Self::Checkpoint,
        Self::Fork,
        Self::Rollback { force: false },
        Self::Rollback { force: true },
        Self::Destroy,
    ];
}

/// The three answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is done by this plan.
    Accept(PlanKind),
    /// It is so already.
    Already,
    /// It is not done.
    Deny(Denied),
}

/// Why a request is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// It is not ready yet.
    #[error("is still being created")]
    BeingCreated,
    /// It is nearly gone.
    #[error("is being destroyed")]
    BeingDestroyed,
    /// It failed, and going on would lose what is left of its memory.
    #[error("has failed")]
    Failed,
    /// What was asked for needs memory, and it has none.
    #[error("is off and has no memory")]
    NoMemory,
    /// What it is now would be lost.
    #[error("has no memory, so what is on its disk now can't be kept as a checkpoint")]
    NotKept,
}

/// Decides a request.
pub const fn decide(state: State, request: Request) -> Decision {
    use Decision::{Accept, Already, Deny};
    match (state, request) {
        (State::Destroying, Request::Destroy) => Already,
        (State::Destroying, _) => Deny(Denied::BeingDestroyed),
        (_, Request::Destroy) => Accept(PlanKind::Destroy),
        (State::Creating, _) => Deny(Denied::BeingCreated),

        (State::Hot, Request::Wake | Request::Start { .. }) => Already,
        (State::Warm, Request::Wake | Request::Start { .. }) => Accept(PlanKind::Thaw),
        (State::Cold, Request::Wake | Request::Start { force: false }) => Accept(PlanKind::Wake),
        (State::Off, Request::Wake | Request::Start { .. })
        | (State::Cold | State::Failed, Request::Start { force: true }) => Accept(PlanKind::Boot),

        (State::Hot | State::Warm | State::Cold, Request::Rollback { .. })
        | (State::Off | State::Failed, Request::Rollback { force: true }) => {
            Accept(PlanKind::Rollback)
        }
        (State::Off, Request::Rollback { force: false }) => Deny(Denied::NotKept),

        (State::Failed, _) => Deny(Denied::Failed),

        (State::Hot, Request::Pause) => Accept(PlanKind::Cool),
        // A sleeping one is paused and more.
        (State::Warm | State::Cold, Request::Pause) => Already,
        (State::Off, Request::Pause) => Deny(Denied::NoMemory),

        (State::Hot | State::Warm, Request::Stop) => Accept(PlanKind::Sleep),
        (State::Cold | State::Off, Request::Stop) => Already,

        (State::Hot | State::Warm, Request::Checkpoint) => Accept(PlanKind::Checkpoint),
        (State::Cold, Request::Checkpoint) => Accept(PlanKind::CheckpointCold),
        (State::Hot | State::Warm, Request::Fork) => Accept(PlanKind::Fork),
        (State::Cold, Request::Fork) => Accept(PlanKind::ForkCold),
        (State::Off, Request::Checkpoint | Request::Fork) => Deny(Denied::NoMemory),
    }
}

#[cfg(test)]
mod test {
    use super::{Decision, Denied, Request, decide};
    use crate::plan::PlanKind;
    use crate::state::State;

    #[test]
    fn every_state_can_be_destroyed() {
        for state in State::ALL {
            let decision = decide(state, Request::Destroy);
            assert!(!matches!(decision, Decision::Deny(_)), "{state:?}");
        }
    }

    #[test]
    fn memory_is_given_up_only_by_force() {
        for request in Request::ALL {
            let boots = decide(State::Cold, request) == Decision::Accept(PlanKind::Boot);
            assert_eq!(
                boots,
                request == Request::Start { force: true },
                "{request:?}"
            );
        }
    }

    #[test]
    fn what_can_not_be_kept_is_given_up_only_by_force() {
        for state in State::ALL {
            let gives_up = |force| {
                let accepted = Decision::Accept(PlanKind::Rollback);
                decide(state, Request::Rollback { force }) == accepted
                    && !matches!(decide(state, Request::Checkpoint), Decision::Accept(_))
            };
            assert!(!gives_up(false), "{state:?}");
            let can_be_given_up = matches!(state, State::Off | State::Failed);
            assert_eq!(gives_up(true), can_be_given_up, "{state:?}");
        }
    }

    #[test]
    fn what_is_done_already_is_not_done_again() {
        assert_eq!(
            decide(State::Hot, Request::Start { force: true }),
            Decision::Already
        );
        assert_eq!(decide(State::Cold, Request::Stop), Decision::Already);
        assert_eq!(
            decide(State::Off, Request::Checkpoint),
            Decision::Deny(Denied::NoMemory)
        );
        assert_eq!(
            decide(State::Failed, Request::Wake),
            Decision::Deny(Denied::Failed)
        );
    }
}
