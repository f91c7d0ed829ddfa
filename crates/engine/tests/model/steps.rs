//! Faults between the steps of plans.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bhatti_engine::fault::{Faults, Injected, Moment};
use bhatti_lifecycle::plan::{PlanKind, Step};
use tokio::sync::watch;

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Fail,
    /// The daemon is killed.
    Kill,
}

/// One fault, once.
pub(crate) struct StepFaults {
    planned: Mutex<Option<(u32, Moment, Effect)>>,
    killed: watch::Sender<bool>,
    /// Steps begun so far.
    begun: watch::Sender<u32>,
}

impl Default for StepFaults {
    fn default() -> Self {
        Self {
            planned: Mutex::default(),
            killed: watch::Sender::new(false),
            begun: watch::Sender::new(0),
        }
    }
}

impl StepFaults {
    /// Breaks a step, after `pass` that go well.
    pub(crate) fn plan(&self, pass: u32, moment: Moment, effect: Effect) {
        *self.planned() = Some((pass, moment, effect));
    }

    /// Takes it back. Says whether it was met.
    pub(crate) fn clear(&self) -> bool {
        self.killed.send_replace(false);
        self.planned().take().is_none()
    }

    /// Waits until the daemon is to be killed.
    pub(crate) async fn killed(&self) {
        // The sender is in `self`, so it is not gone.
        let _ = self.killed.subscribe().wait_for(|killed| *killed).await;
    }

    /// Waits until so many more steps have begun. Cancel-safe.
    pub(crate) async fn begun(&self, more: u32) {
        let mut begun = self.begun.subscribe();
        let wanted = *begun.borrow_and_update() + more;
        // As above.
        let _ = begun.wait_for(|begun| *begun >= wanted).await;
    }

    fn planned(&self) -> MutexGuard<'_, Option<(u32, Moment, Effect)>> {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults for StepFaults {
    fn at(&self, _: PlanKind, _: Step, moment: Moment) -> Result<(), Injected> {
        if moment == Moment::Before {
            self.begun.send_modify(|begun| *begun += 1);
        }
        let effect = {
            let mut planned = self.planned();
            match &mut *planned {
                Some((pass, wanted, _)) if *pass > 0 => {
                    *pass -= u32::from(*wanted == moment);
                    return Ok(());
                }
                Some((_, wanted, effect)) if *wanted == moment => {
                    let effect = *effect;
                    *planned = None;
                    effect
                }
                _ => return Ok(()),
            }
        };
        match effect {
            Effect::Fail => Err(Injected),
            Effect::Kill => {
                self.killed.send_replace(true);
                // Ends this task here and now, without the word of a panic. The test comes next,
                // for its runtime looks at it after every turn, and takes the runtime away.
                std::panic::resume_unwind(Box::new("killed"))
            }
        }
    }
}
