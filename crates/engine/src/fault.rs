//! Faults put between the steps of a workflow, to show that none of them loses or leaks anything.
//!
//! The real daemon has [`NoFaults`]. Tests give another [`Faults`], or start the daemon with
//! `--fault`, which is parsed into a [`FaultPoint`].

use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use bhatti_lifecycle::plan::{PlanKind, Step};

/// When a step's fault comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It was written to the journal, or will be with its effect, and has had none.
    Before,
    /// It has had its effect.
    After,
}

/// A fault that was put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fault was put in at this step")]
pub struct Injected;

/// Asked before and after every step.
pub trait Faults: Send + Sync {
    /// Lets the step go on, fails it, or does not return.
    fn at(&self, plan: PlanKind, step: Step, moment: Moment) -> Result<(), Injected>;
}

/// Lets every step go on.
#[derive(Debug, Clone, Copy)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn at(&self, _: PlanKind, _: Step, _: Moment) -> Result<(), Injected> {
        Ok(())
    }
}

/// What a fault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The step fails.
    Fail,
    /// The process ends at once, as by `kill -9`.
    Abort,
}

/// One fault, once: `PLAN:STEP:before|after:fail|abort`, such as `create:launch:after:abort`.
#[derive(Debug)]
pub struct FaultPoint {
    plan: String,
    step: String,
    moment: Moment,
    effect: Effect,
    hits: AtomicU32,
}

impl Faults for FaultPoint {
    fn at(&self, plan: PlanKind, step: Step, moment: Moment) -> Result<(), Injected> {
        let here =
            plan.as_str() == self.plan && step.as_str() == self.step && moment == self.moment;
        if !here || self.hits.fetch_add(1, Ordering::Relaxed) > 0 {
            return Ok(());
        }
        match self.effect {
            Effect::Fail => Err(Injected),
            Effect::Abort => std::process::abort(),
        }
    }
}

/// The text is not a fault point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a fault is PLAN:STEP:before|after:fail|abort")]
pub struct BadFaultPoint;

impl FromStr for FaultPoint {
    type Err = BadFaultPoint;

    fn from_str(text: &str) -> Result<Self, BadFaultPoint> {
        let parts: Vec<&str> = text.split(':').collect();
        let [plan, step, moment, effect] = parts[..] else {
            return Err(BadFaultPoint);
        };
        let known = PlanKind::ALL
            .iter()
            .any(|kind| kind.as_str() == plan && kind.steps().iter().any(|s| s.as_str() == step));
        if !known {
            return Err(BadFaultPoint);
        }
        Ok(Self {
            plan: plan.to_owned(),
            step: step.to_owned(),
            moment: match moment {
                "before" => Moment::Before,
                "after" => Moment::After,
                _ => return Err(BadFaultPoint),
            },
            effect: match effect {
                "fail" => Effect::Fail,
                "abort" => Effect::Abort,
                _ => return Err(BadFaultPoint),
            },
            hits: AtomicU32::new(0),
        })
    }
}

#[cfg(test)]
mod test {
    use bhatti_lifecycle::plan::{PlanKind, Step};

    use super::{FaultPoint, Faults as _, Moment};

    #[test]
    fn a_fault_point_strikes_once_and_only_where_it_says() {
        let point: FaultPoint = "create:launch:after:fail".parse().unwrap();
        assert!(
            point
                .at(PlanKind::Create, Step::Launch, Moment::Before)
                .is_ok()
        );
        assert!(
            point
                .at(PlanKind::Boot, Step::Launch, Moment::After)
                .is_ok()
        );
        assert!(
            point
                .at(PlanKind::Create, Step::Launch, Moment::After)
                .is_err()
        );
        assert!(
            point
                .at(PlanKind::Create, Step::Launch, Moment::After)
                .is_ok()
        );
    }

    #[test]
    fn steps_that_a_plan_does_not_have_are_refused() {
        assert!("create:save-cold:after:fail".parse::<FaultPoint>().is_err());
        assert!("create:launch:after".parse::<FaultPoint>().is_err());
    }
}
