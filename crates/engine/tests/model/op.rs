//! What is done to the engine, drawn at random.

use std::fmt;

use bhatti_engine::fault::Moment;
use bhatti_testing::fake_vmm::fault::{Act, Call};
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;

/// The names that sandboxes are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Name {
    A,
    B,
}

impl Name {
    pub(crate) const ALL: [Self; 2] = [Self::A, Self::B];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The names that checkpoints are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Snap {
    S,
    T,
}

impl Snap {
    pub(crate) const ALL: [Self; 2] = [Self::S, Self::T];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::S => "s",
            Self::T => "t",
        }
    }
}

/// A request of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Create(Name),
    Resume(Snap, Name),
    /// Run a command that reads what the guest remembers.
    Read(Name),
    /// Run a command that sets a new number in memory.
    Remember(Name),
    /// Run a command that sets a new number on the disk.
    Store(Name),
    /// Pause its vCPUs.
    Pause(Name),
    Stop(Name),
    /// Set whether it is kept hot.
    Keep(Name, bool),
    Start(Name),
    /// Start, giving up the memory if need be.
    Force(Name),
    Checkpoint(Name, Snap),
    Forget(Snap),
    /// Make a copy, of the second name.
    Fork(Name, Name),
    /// Put it back to a checkpoint of its own.
    Rollback(Name, Snap),
    Destroy(Name),
}

impl Request {
    /// The sandbox it is about.
    pub(crate) const fn name(self) -> Option<Name> {
        match self {
            Self::Create(name)
            | Self::Resume(_, name)
            | Self::Read(name)
            | Self::Remember(name)
            | Self::Store(name)
            | Self::Pause(name)
            | Self::Stop(name)
            | Self::Keep(name, _)
            | Self::Start(name)
            | Self::Force(name)
            | Self::Checkpoint(name, _)
            | Self::Fork(_, name)
            | Self::Rollback(name, _)
            | Self::Destroy(name) => Some(name),
            Self::Forget(_) => None,
        }
    }

    /// The checkpoint it is about.
    pub(crate) const fn snap(self) -> Option<Snap> {
        match self {
            Self::Resume(snap, _)
            | Self::Checkpoint(_, snap)
            | Self::Rollback(_, snap)
            | Self::Forget(snap) => Some(snap),
            _ => None,
        }
    }

    /// The sandbox it makes, if it goes well.
    pub(crate) const fn makes(self) -> Option<Name> {
        match self {
            Self::Create(name) | Self::Resume(_, name) | Self::Fork(_, name) => Some(name),
            _ => None,
        }
    }

    /// The sandbox whose state matters besides that of [`Request::name`].
    pub(crate) const fn source(self) -> Option<Name> {
        match self {
            Self::Fork(name, _) => Some(name),
            _ => None,
        }
    }
}

/// What breaks while a request is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Break {
    /// A call of the VMM, after so many of its kind that go well.
    Vmm(Call, u32, Act),
    /// A step of a plan, after so many that go well.
    Step(u32, Moment),
}

/// A second request, which comes once so many steps have begun, or with the end of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct After(pub(crate) u32, pub(crate) Request);

/// One thing done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    One(Request),
    /// Two that overlap.
    Two(Request, After),
    /// One of the above while something breaks.
    Broken(Request, Option<After>, Break),
    /// The daemon is killed in the middle of it, and another started.
    Killed(Request, Option<After>, Break),
    /// The daemon is killed while nothing is done, and another started.
    KilledIdle,
    /// The daemon ends in good order, and another is started.
    Restart,
    /// Another is started after it was killed, and something breaks in its start; then another.
    BrokenRestart(Break),
    /// The same, but it is killed in its start.
    KilledRestart(Break),
    /// All processes of the host are gone at once.
    LosePower,
    /// The host goes down in good order: all sleep, then its power is off.
    GoDown,
    /// The daemon is killed, a bit of a sleeping memory flips, and another daemon is started.
    Damage(Name),
    /// All sandboxes are put to sleep.
    SleepAll,
    /// A machine ends by itself.
    End(Name),
    /// A machine's vCPUs stop by themselves, for want of room on the host's disk.
    Halt(Name),
    /// So many minutes pass.
    Pass(u64),
    /// An agent does not answer any more.
    Silence(Name),
    /// It does again.
    Speak(Name),
}

fn name() -> impl Strategy<Value = Name> {
    // One much more often than the other: what happens to one is what matters.
    prop_oneof![3 => Just(Name::A), 1 => Just(Name::B)]
}

fn snap() -> impl Strategy<Value = Snap> {
    select(Snap::ALL.as_slice())
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        3 => name().prop_map(Request::Create),
        2 => (snap(), name()).prop_map(|(snap, name)| Request::Resume(snap, name)),
        2 => name().prop_map(Request::Read),
        4 => name().prop_map(Request::Remember),
        2 => name().prop_map(Request::Store),
        3 => name().prop_map(Request::Pause),
        5 => name().prop_map(Request::Stop),
        1 => (name(), any::<bool>()).prop_map(|(name, keep)| Request::Keep(name, keep)),
        3 => name().prop_map(Request::Start),
        1 => name().prop_map(Request::Force),
        4 => (name(), snap()).prop_map(|(name, snap)| Request::Checkpoint(name, snap)),
        1 => snap().prop_map(Request::Forget),
        2 => (name(), name()).prop_map(|(from, to)| Request::Fork(from, to)),
        2 => (name(), snap()).prop_map(|(name, snap)| Request::Rollback(name, snap)),
        1 => name().prop_map(Request::Destroy),
    ]
}

fn moment() -> impl Strategy<Value = Moment> {
    select([Moment::Before, Moment::After].as_slice())
}

fn call() -> impl Strategy<Value = Call> {
    select(Call::ALL.as_slice())
}

fn breaks() -> impl Strategy<Value = Break> {
    const ACTS: [Act; 5] = [Act::Fail, Act::FailAfter, Act::TimeOut, Act::Hang, Act::Die];
    prop_oneof![
        2 => (call(), 0..2u32, select(ACTS.as_slice()))
            .prop_map(|(call, pass, act)| Break::Vmm(call, pass, act)),
        1 => (0..10u32, moment()).prop_map(|(pass, moment)| Break::Step(pass, moment)),
    ]
}

/// Where a daemon is killed: a call that never comes back, or a step.
fn point() -> impl Strategy<Value = Break> {
    const ACTS: [Act; 2] = [Act::Hang, Act::HangAfter];
    prop_oneof![
        1 => (call(), 0..2u32, select(ACTS.as_slice()))
            .prop_map(|(call, pass, act)| Break::Vmm(call, pass, act)),
        2 => (0..10u32, moment()).prop_map(|(pass, moment)| Break::Step(pass, moment)),
    ]
}

fn after() -> impl Strategy<Value = After> {
    (0..8u32, request()).prop_map(|(steps, request)| After(steps, request))
}

fn second() -> impl Strategy<Value = Option<After>> {
    prop_oneof![2 => Just(None), 1 => after().prop_map(Some)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => request().prop_map(Op::One),
        8 => (request(), after()).prop_map(|(one, two)| Op::Two(one, two)),
        8 => (request(), second(), breaks())
            .prop_map(|(one, two, broken)| Op::Broken(one, two, broken)),
        6 => (request(), second(), point())
            .prop_map(|(one, two, point)| Op::Killed(one, two, point)),
        1 => Just(Op::KilledIdle),
        1 => Just(Op::Restart),
        1 => breaks().prop_map(Op::BrokenRestart),
        1 => point().prop_map(Op::KilledRestart),
        1 => Just(Op::LosePower),
        1 => Just(Op::GoDown),
        1 => name().prop_map(Op::Damage),
        1 => Just(Op::SleepAll),
        2 => name().prop_map(Op::End),
        1 => name().prop_map(Op::Halt),
        4 => select([1, 1, 40].as_slice()).prop_map(Op::Pass),
        1 => name().prop_map(Op::Silence),
        1 => name().prop_map(Op::Speak),
    ]
}

/// How creates are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    /// Templates that are kept; with 0, every create boots.
    pub(crate) templates: usize,
    /// Started clones in stock.
    pub(crate) stock: usize,
}

impl Setup {
    /// Every create boots.
    pub(crate) const PLAIN: Self = Self {
        templates: 0,
        stock: 0,
    };
}

fn setup() -> impl Strategy<Value = Setup> {
    let setups = [(0, 0), (2, 0), (2, 2)].map(|(templates, stock)| Setup { templates, stock });
    select(setups.to_vec())
}

/// What is done in one case. Shown with one step a line.
#[derive(Clone)]
pub(crate) struct Case(pub(crate) Setup, pub(crate) Vec<Op>);

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{:?}", self.0))?;
        for op in &self.1 {
            // Not as `f` has it: each of them in one line.
            f.write_str(&format!("\n    {op:?}"))?;
        }
        Ok(())
    }
}

/// At most so many steps.
pub(crate) fn case(most: usize) -> impl Strategy<Value = Case> {
    (setup(), proptest::collection::vec(op(), 1..most)).prop_map(|(setup, ops)| Case(setup, ops))
}
