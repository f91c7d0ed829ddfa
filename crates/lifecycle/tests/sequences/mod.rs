//! One sandbox through long lives of requests, failures and ends of daemon, machine and host, all
//! at random, on the same model of the host.
//!
//! Besides what holds of every world, memory is followed: once a sandbox has some, it has it until
//! its machine dies, the host loses power, or someone gives it up.

use std::fmt;

use bhatti_lifecycle::decide::{Decision, Request, decide};
use bhatti_lifecycle::plan::{PlanKind, Step};
use bhatti_lifecycle::state::State;
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;

use super::{Files, NOTHING, World};

/// How a plan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    /// This step fails, having had its effect or not, and the plan is unwound.
    Fails(usize, bool),
    /// The same, and this step of the unwinding fails; the daemon is restarted.
    FailsTwice(usize, bool, usize),
    /// The daemon is killed in this step.
    Killed(usize, bool),
    /// This step fails, and the daemon is killed before this step of the unwinding.
    KilledUnwinding(usize, bool, usize),
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// A sandbox is made, if there is none: of a checkpoint, if there is one and it is wanted.
    Make(bool, Fate),
    /// A sandbox is made from a template, if there is none: by taking a clone in stock, or not.
    Fork(bool, Fate),
    Ask(Request, Fate),
    /// The checkpoint is deleted; the daemon may be killed after its record.
    Delete(bool),
    /// The machine ends by itself.
    Dies,
    /// The daemon is killed, and another started.
    Restart,
    /// The host goes down, and all machines with it.
    LosePower,
}

fn fate() -> impl Strategy<Value = Fate> {
    let at = || 0..12_usize;
    prop_oneof![
        6 => Just(Fate::Good),
        2 => (at(), any::<bool>()).prop_map(|(at, effect)| Fate::Fails(at, effect)),
        1 => (at(), any::<bool>(), 0..4_usize)
            .prop_map(|(at, effect, undo)| Fate::FailsTwice(at, effect, undo)),
        2 => (at(), any::<bool>()).prop_map(|(at, effect)| Fate::Killed(at, effect)),
        1 => (at(), any::<bool>(), 0..4_usize)
            .prop_map(|(at, effect, undo)| Fate::KilledUnwinding(at, effect, undo)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (any::<bool>(), fate()).prop_map(|(resume, fate)| Event::Make(resume, fate)),
        14 => (select(Request::ALL.as_slice()), fate())
            .prop_map(|(request, fate)| Event::Ask(request, fate)),
        2 => (any::<bool>(), fate()).prop_map(|(taken, fate)| Event::Fork(taken, fate)),
        1 => any::<bool>().prop_map(Event::Delete),
        1 => Just(Event::Dies),
        1 => Just(Event::Restart),
        1 => Just(Event::LosePower),
    ]
}

/// Shown with one event a line.
#[derive(Clone)]
struct Life(Vec<Event>);

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            // Not as `f` has it: each of them in one line.
            .try_for_each(|event| f.write_str(&format!("\n    {event:?}")))
    }
}

fn has_memory(world: World) -> bool {
    matches!(world.record, Some(State::Hot | State::Warm | State::Cold))
}

/// Takes a step of a plan, as the engine does.
fn take(world: &mut World, kind: PlanKind, before: State, step: Step) {
    // A warm source stays paused through its checkpoint.
    let captures = matches!(kind, PlanKind::Checkpoint | PlanKind::Fork);
    if step == Step::Run && before == State::Warm && captures {
        return;
    }
    world.apply(step);
}

/// Takes the steps of a plan up to the fate's, and all that comes of it.
fn carry_out(world: &mut World, kind: PlanKind, fate: Fate) {
    let before = world.record.expect("a plan has a sandbox");
    let steps = kind.steps();
    let (at, effect) = match fate {
        Fate::Good => {
            for step in steps {
                take(world, kind, before, *step);
            }
            return;
        }
        Fate::Fails(at, effect)
        | Fate::FailsTwice(at, effect, _)
        | Fate::Killed(at, effect)
        | Fate::KilledUnwinding(at, effect, _) => (at % steps.len(), effect),
    };
    for step in &steps[..at] {
        take(world, kind, before, *step);
    }
    if effect {
        take(world, kind, before, steps[at]);
    }
    if matches!(fate, Fate::Killed(..)) {
        return world.restart();
    }
    for (index, step) in kind.unwind(before, &steps[..=at]).into_iter().enumerate() {
        match fate {
            Fate::KilledUnwinding(_, _, undo) if undo == index => break,
            Fate::FailsTwice(_, _, undo) if undo == index => {
                if PlanKind::holds_up_unwinding(step) {
                    break;
                }
            }
            _ => take(world, kind, before, step),
        }
    }
    // What could not be unwound is left to the next start; so is a destroy.
    if !matches!(fate, Fate::Fails(..)) || kind == PlanKind::Destroy {
        world.restart();
    }
}

/// The state in which a plan that went well leaves its sandbox.
fn after(kind: PlanKind, before: State) -> Option<State> {
    match kind {
        PlanKind::Create
        | PlanKind::Clone
        | PlanKind::Take
        | PlanKind::Resume
        | PlanKind::Boot
        | PlanKind::Wake
        | PlanKind::Thaw
        | PlanKind::Rollback => Some(State::Hot),
        PlanKind::Cool => Some(State::Warm),
        PlanKind::Sleep => Some(State::Cold),
        PlanKind::Checkpoint
        | PlanKind::CheckpointCold
        | PlanKind::Fork
        | PlanKind::ForkCold
        | PlanKind::Keep => Some(before),
        // The last two are no sandbox's.
        PlanKind::Destroy | PlanKind::Stock | PlanKind::BuildTemplate => None,
    }
}

fn ask(world: &mut World, request: Request, fate: Fate) {
    let Some(before) = world.record else { return };
    if request == Request::Checkpoint && world.snapshot_record.is_some() {
        // Its name is taken.
        return;
    }
    let Decision::Accept(kind) = decide(before, request) else {
        return;
    };
    if kind == PlanKind::Rollback {
        if world.snapshot_record != Some(true) {
            // There is nothing to go back to.
            return;
        }
        // It is paused since it was kept.
        world.apply(Step::Pause);
    }
    if request == Request::Checkpoint {
        world.snapshot_record = Some(false);
    }
    carry_out(world, kind, fate);
    if fate == Fate::Good {
        // The copies are made.
        world.apply(Step::RemoveForkDirectory);
        assert_eq!(
            world.record,
            after(kind, before),
            "{kind:?} from {before:?}"
        );
    }
}

fn make(world: &mut World, resume: bool, fate: Fate) {
    if world.record.is_some() {
        return;
    }
    world.record = Some(State::Creating);
    let kind = if resume && world.snapshot_record == Some(true) {
        PlanKind::Resume
    } else {
        PlanKind::Create
    };
    carry_out_new(world, kind, fate);
}

fn fork(world: &mut World, taken: bool, fate: Fate) {
    if world.record.is_some() {
        return;
    }
    if !taken {
        world.record = Some(State::Creating);
        return carry_out_new(world, PlanKind::Clone, fate);
    }
    for step in PlanKind::Stock.steps() {
        world.apply(*step);
    }
    // That a vCPU of the clone has run says nothing about a cold image: there is none.
    world.moved_on = false;
    world.record = Some(State::Creating);
    carry_out_new(world, PlanKind::Take, fate);
}

fn carry_out_new(world: &mut World, kind: PlanKind, fate: Fate) {
    carry_out(world, kind, fate);
    if matches!(fate, Fate::Fails(..)) {
        assert_eq!(world.record, None, "a failed {kind:?} leaves nothing");
    }
}

fn happen(world: &mut World, event: Event) {
    match event {
        Event::Make(resume, fate) => make(world, resume, fate),
        Event::Fork(taken, fate) => fork(world, taken, fate),
        Event::Ask(request, fate) => ask(world, request, fate),
        Event::Delete(killed) => {
            world.snapshot_record = None;
            if killed {
                world.restart();
            }
            world.snapshot = Files::None;
        }
        Event::Dies => {
            // Its task notices, and records it.
            if world.vmm.take().is_some() {
                world.record = Some(State::Off);
            }
        }
        Event::Restart => world.restart(),
        Event::LosePower => {
            world.vmm = None;
            world.restart();
        }
    }
}

/// Whether memory may be gone after this.
fn loses_memory(event: Event) -> bool {
    match event {
        Event::Dies | Event::LosePower => true,
        Event::Ask(request, _) => {
            // What is put back was kept before.
            matches!(
                request,
                Request::Start { force: true } | Request::Rollback { .. } | Request::Destroy
            )
        }
        Event::Make(..) | Event::Fork(..) | Event::Delete(_) | Event::Restart => false,
    }
}

/// Has all of it happen, and looks at the world after each.
fn live(events: &[Event]) -> World {
    let mut world = NOTHING;
    for event in events {
        let had = has_memory(world);
        happen(&mut world, *event);
        let told = format!("{event:?}");
        world.check(&told);
        if had && !loses_memory(*event) {
            assert!(has_memory(world), "memory is lost by {told}: {world:?}");
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 10_000,
        // What it finds becomes a test of its own, below.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_nothing_is_half_made_and_memory_is_lost_for_a_reason(
        events in proptest::collection::vec(event(), 1..60).prop_map(Life)
    ) {
        live(&events.0);
    }
}

#[test]
fn a_wake_that_fails_before_a_vcpu_runs_and_is_cut_off_in_its_unwinding_keeps_its_memory() {
    // The commit had its effect and failed; the daemon is killed at either step that undoes it.
    for undo in 0..2 {
        let world = live(&[
            Event::Make(false, Fate::Good),
            Event::Ask(Request::Stop, Fate::Good),
            Event::Ask(Request::Wake, Fate::KilledUnwinding(2, true, undo)),
        ]);
        assert!(has_memory(world), "{undo}: {world:?}");
    }
}

#[test]
fn a_checkpoint_that_was_recorded_and_could_not_be_forgotten_is_whole() {
    for undo in 0..3 {
        let world = live(&[
            Event::Make(false, Fate::Good),
            Event::Ask(Request::Stop, Fate::Good),
            Event::Ask(Request::Checkpoint, Fate::FailsTwice(3, true, undo)),
        ]);
        assert_eq!(world.record, Some(State::Cold));
    }
}
