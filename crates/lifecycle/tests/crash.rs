//! Every plan, broken off at every point, on a model of the host: what the repairs and the
//! unwinding leave behind is whole or not there.

#![expect(clippy::panic, reason = "a broken model ends the test")]

mod sequences;

use std::collections::BTreeMap;

use bhatti_lifecycle::plan::{PlanKind, Step};
use bhatti_lifecycle::repair::{
    ColdFound, Inventory, Repair, SandboxFound, SnapshotFound, plan_repairs,
};
use bhatti_lifecycle::state::State;
use bhatti_types::id::{SandboxId, SnapshotId};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vcpus {
    Paused,
    Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    None,
    Partial,
    Whole,
}

/// The parts of a host that matter for one sandbox and one checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct World {
    record: Option<State>,
    directory: bool,
    vmm: Option<Vcpus>,
    cold: Files,
    snapshot_record: Option<bool>,
    snapshot: Files,
    template: Files,
    /// A vCPU has run since the cold image was made.
    moved_on: bool,
    /// Which disk it is: each copy that is made of another has a number of its own.
    disk: u32,
    last_disk: u32,
    /// The checkpoint's files next to it, and among them a copy of the disk.
    aside: bool,
    disk_aside: Option<u32>,
    /// The disk that belongs to the memory of the VMM, or of the cold image.
    memory_over: u32,
    /// The disk that belongs to the saved memory that was made ready last.
    saved_over: u32,
    /// What copies go on from.
    fork: Files,
}

const NOTHING: World = World {
    record: None,
    directory: false,
    vmm: None,
    cold: Files::None,
    snapshot_record: None,
    snapshot: Files::None,
    template: Files::None,
    moved_on: false,
    disk: 0,
    last_disk: 0,
    aside: false,
    disk_aside: None,
    memory_over: 0,
    saved_over: 0,
    fork: Files::None,
};

impl World {
    /// The world in which a plan of this kind begins; its record has been made with its journal.
    fn before(kind: PlanKind, state: State) -> Self {
        let world = Self {
            record: Some(state),
            directory: true,
            ..NOTHING
        };
        let vmm = match state {
            State::Hot => Some(Vcpus::Running),
            State::Warm => Some(Vcpus::Paused),
            _ => None,
        };
        let cold = if state == State::Cold {
            Files::Whole
        } else {
            Files::None
        };
        let world = Self { vmm, cold, ..world };
        match kind {
            PlanKind::Create | PlanKind::Clone | PlanKind::Resume => Self {
                record: Some(State::Creating),
                directory: false,
                ..world
            },
            // What is taken is the clone in stock.
            PlanKind::Take => Self {
                record: Some(State::Creating),
                vmm: Some(Vcpus::Paused),
                ..world
            },
            PlanKind::Stock | PlanKind::BuildTemplate => NOTHING,
            PlanKind::Checkpoint | PlanKind::CheckpointCold | PlanKind::Keep => Self {
                snapshot_record: Some(false),
                ..world
            },
            // What it was has been kept, and it is paused since.
            PlanKind::Rollback => Self {
                snapshot_record: Some(true),
                snapshot: Files::Whole,
                vmm: vmm.map(|_| Vcpus::Paused),
                ..world
            },
            _ => world,
        }
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::MakeDirectory => self.directory = true,
            Step::RemoveDirectory => {
                assert_eq!(self.vmm, None, "files deleted under a VMM");
                (self.directory, self.cold) = (false, Files::None);
                self.apply(Step::RemoveAside);
            }
            Step::Launch => self.launch(self.disk),
            Step::LaunchSaved => self.launch(self.memory_over),
            Step::KillMachine => self.vmm = None,
            Step::Run => {
                assert_ne!(
                    self.record,
                    Some(State::Cold),
                    "a vCPU ran on an unspent image"
                );
                self.vmm = self.vmm.map(|_| Vcpus::Running);
                self.moved_on = true;
            }
            Step::Pause => self.vmm = self.vmm.map(|_| Vcpus::Paused),
            Step::SaveCold => (self.cold, self.moved_on) = (Files::Partial, false),
            Step::SealCold => self.cold = Files::Whole,
            Step::RemoveCold => self.cold = Files::None,
            Step::MakeSnapshotDirectory | Step::SaveSnapshot | Step::CopyCold => {
                self.snapshot = Files::Partial;
            }
            Step::SealSnapshot => self.snapshot = Files::Whole,
            Step::MakeTemplateDirectory | Step::SaveTemplate => self.template = Files::Partial,
            Step::SealTemplate => {
                assert_eq!(self.vmm, None, "a disk taken while a VMM writes to it");
                self.template = Files::Whole;
            }
            Step::RemoveTemplateDirectory => {
                assert_eq!(self.vmm, None, "files deleted under a VMM");
                self.template = Files::None;
            }
            Step::RemoveSnapshotDirectory => self.snapshot = Files::None,
            Step::CommitHot => self.record = Some(State::Hot),
            Step::NoteHot => self.record = Some(State::Hot),
            Step::NoteWarm => self.record = Some(State::Warm),
            Step::CommitCold => self.record = Some(State::Cold),
            Step::CommitOff => self.record = Some(State::Off),
            Step::CommitDestroying => self.record = Some(State::Destroying),
            Step::CommitSnapshot => self.snapshot_record = Some(true),
            Step::Forget => self.record = None,
            Step::ForgetSnapshot => self.snapshot_record = None,
            Step::MakeForkDirectory | Step::SaveFork | Step::CopyColdFork => {
                self.fork = Files::Partial;
            }
            Step::RemoveForkDirectory => self.fork = Files::None,
            Step::CopyAside => {
                self.aside = true;
                self.disk_aside = Some(self.copied_disk());
            }
            Step::SwapDisk => {
                assert_eq!(self.vmm, None, "a disk exchanged under a VMM");
                let off = Some(State::Off);
                assert_eq!(self.record, off, "a memory is left without its disk");
                // Taken again after it was done, there is no copy any more.
                self.disk = self.disk_aside.take().unwrap_or(self.disk);
            }
            Step::RemoveAside => (self.aside, self.disk_aside) = (false, None),
            Step::LinkSavedMemory | Step::LinkTemplateMemory => self.memory_over = self.saved_over,
            Step::CloneImageDisk | Step::CloneSavedDisk | Step::CloneTemplateDisk => {
                self.disk = self.copied_disk();
            }
            Step::EmptyMemory
            | Step::LinkColdMemory
            | Step::Greet
            | Step::Identify
            | Step::AttachVolumes
            | Step::PrepareGuest
            | Step::Refresh
            | Step::SyncGuest => {}
        }
    }

    /// A copy of the disk that belongs to a saved memory, or of an image's.
    fn copied_disk(&mut self) -> u32 {
        self.last_disk += 1;
        self.saved_over = self.last_disk;
        self.last_disk
    }

    fn launch(&mut self, memory_over: u32) {
        assert_eq!(self.vmm, None, "two VMMs on one disk");
        assert_eq!(memory_over, self.disk, "a memory over another disk");
        self.memory_over = memory_over;
        self.vmm = Some(Vcpus::Paused);
    }

    /// A new daemon starts on it.
    fn restart(&mut self) {
        let (sandbox, snapshot) = (SandboxId::random(), SnapshotId::random());
        let found = Inventory {
            sandboxes: self
                .record
                .map(|state| {
                    (
                        sandbox.clone(),
                        SandboxFound {
                            state,
                            process: None,
                            cold: match self.cold {
                                Files::None => ColdFound::Missing,
                                Files::Partial => ColdFound::Damaged,
                                Files::Whole => ColdFound::Kept,
                            },
                            before_boot: false,
                        },
                    )
                })
                .into_iter()
                .collect(),
            processes: self
                .vmm
                .map(|_| (sandbox.clone(), ()))
                .into_iter()
                .collect(),
            sandbox_directories: self
                .directory
                .then(|| sandbox.clone())
                .into_iter()
                .collect(),
            snapshots: self
                .snapshot_record
                .map(|ready| (snapshot.clone(), SnapshotFound { ready }))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            snapshot_directories: (self.snapshot != Files::None)
                .then(|| snapshot.clone())
                .into_iter()
                .collect(),
        };
        // What is done without a plan: these are never wanted after a restart.
        self.apply(Step::RemoveForkDirectory);
        self.apply(Step::RemoveAside);
        for repair in plan_repairs(&found) {
            match repair {
                Repair::EndProcess(()) => self.apply(Step::KillMachine),
                Repair::Adopt { .. } => match self.record {
                    Some(State::Hot) => self.apply(Step::Run),
                    Some(State::Warm) => self.apply(Step::Pause),
                    _ => {}
                },
                Repair::MarkOff { .. } => self.record = Some(State::Off),
                Repair::MarkFailed { .. } => self.record = Some(State::Failed),
                Repair::RemoveCold(_) => self.apply(Step::RemoveCold),
                Repair::RemoveDirectory(_) => self.apply(Step::RemoveDirectory),
                Repair::Forget(_) => self.record = None,
                Repair::RemoveSnapshotDirectory(_) => self.snapshot = Files::None,
                Repair::ForgetSnapshot(_) => self.snapshot_record = None,
            }
        }
        // Half-made templates are deleted once all processes that nobody wants are ended.
        if self.template == Files::Partial {
            self.apply(Step::RemoveTemplateDirectory);
        }
    }

    /// What must hold whenever nothing is under way.
    fn check(self, told: &str) {
        match self.record {
            None => {
                assert!(!self.directory && self.vmm.is_none(), "leaked: {told}");
                assert_eq!(self.cold, Files::None, "leaked: {told}");
            }
            Some(State::Hot) => assert_eq!(self.vmm, Some(Vcpus::Running), "{told}"),
            Some(State::Warm) => assert_eq!(self.vmm, Some(Vcpus::Paused), "{told}"),
            Some(State::Cold) => {
                assert_eq!((self.vmm, self.cold), (None, Files::Whole), "{told}");
                assert!(!self.moved_on, "old memory over a newer disk: {told}");
                assert_eq!(self.memory_over, self.disk, "over another disk: {told}");
            }
            Some(State::Off | State::Failed) => assert_eq!(self.vmm, None, "{told}"),
            Some(half @ (State::Creating | State::Destroying)) => panic!("{half:?} left: {told}"),
        }
        assert!(!self.aside, "leaked: {told}");
        assert_eq!(self.fork, Files::None, "leaked: {told}");
        match self.snapshot_record {
            None => assert_eq!(self.snapshot, Files::None, "leaked: {told}"),
            Some(true) => assert_eq!(self.snapshot, Files::Whole, "shown as whole: {told}"),
            Some(false) => panic!("half a checkpoint left: {told}"),
        }
        assert_ne!(
            self.template,
            Files::Partial,
            "half a template left: {told}"
        );
    }
}

/// The states each plan may begin in.
fn beginnings(kind: PlanKind) -> &'static [State] {
    match kind {
        PlanKind::Create
        | PlanKind::Clone
        | PlanKind::Take
        | PlanKind::Resume
        | PlanKind::Stock
        | PlanKind::BuildTemplate => &[State::Creating],
        PlanKind::Boot => &[State::Off, State::Cold, State::Failed],
        PlanKind::Wake | PlanKind::CheckpointCold | PlanKind::ForkCold => &[State::Cold],
        PlanKind::Thaw => &[State::Warm],
        PlanKind::Sleep | PlanKind::Checkpoint | PlanKind::Fork | PlanKind::Keep => {
            &[State::Hot, State::Warm]
        }
        PlanKind::Cool => &[State::Hot],
        PlanKind::Destroy | PlanKind::Rollback => &[
            State::Hot,
            State::Warm,
            State::Cold,
            State::Off,
            State::Failed,
        ],
    }
}

/// Calls `body` with the world after `done` steps of the plan, for every such count, and then
/// with one more step having had its effect without being known to be done.
fn at_every_point(mut body: impl FnMut(World, PlanKind, State, &[Step], &str)) {
    for kind in PlanKind::ALL {
        for state in beginnings(kind) {
            for begun in 0..=kind.steps().len() {
                for effect in [false, true] {
                    let mut world = World::before(kind, *state);
                    let steps = &kind.steps()[..begun];
                    let done = if effect {
                        begun
                    } else {
                        begun.saturating_sub(1)
                    };
                    for step in &steps[..done] {
                        // A warm source stays paused through its checkpoint.
                        if *step == Step::Run
                            && *state == State::Warm
                            && matches!(kind, PlanKind::Checkpoint | PlanKind::Fork)
                        {
                            continue;
                        }
                        world.apply(*step);
                    }
                    let told = format!("{kind:?} from {state:?}, begun {steps:?}, {effect}");
                    body(world, kind, *state, steps, &told);
                }
            }
        }
    }
}

#[test]
fn a_daemon_killed_at_any_point_leaves_nothing_half_made_after_its_restart() {
    at_every_point(|mut world, _, _, _, told| {
        world.restart();
        world.check(told);
        let once = world;
        world.restart();
        assert_eq!(once, world, "a second restart changes nothing: {told}");
    });
}

#[test]
fn a_rollback_cut_off_anywhere_keeps_what_was_and_never_mixes_two_machines() {
    for (state, effect) in beginnings(PlanKind::Rollback)
        .iter()
        .flat_map(|state| [(*state, false), (*state, true)])
    {
        let steps = PlanKind::Rollback.steps();
        for begun in 0..=steps.len() {
            let before = World::before(PlanKind::Rollback, state);
            let mut world = before;
            let done = if effect {
                begun
            } else {
                begun.saturating_sub(1)
            };
            for step in &steps[..done] {
                world.apply(*step);
            }
            for unwound in [false, true] {
                let mut world = world;
                let told = format!("from {state:?}, {:?}, {effect} {unwound}", &steps[..begun]);
                if unwound && begun > 0 {
                    for step in PlanKind::Rollback.unwind(state, &steps[..begun]) {
                        world.apply(step);
                    }
                } else {
                    world.restart();
                }
                world.check(&told);
                assert_eq!(world.snapshot_record, Some(true), "{told}");
                let as_it_was = World {
                    moved_on: before.moved_on,
                    // It goes on if it ran before.
                    vmm: before.vmm.filter(|_| world.vmm.is_some()),
                    last_disk: before.last_disk,
                    saved_over: before.saved_over,
                    ..world
                } == before;
                let finished = world.record == Some(State::Hot) && world.disk != before.disk;
                let off = world.record == Some(State::Off) && world.vmm.is_none();
                assert!(as_it_was || finished || off, "{told}: {world:?}");
            }
        }
    }
}

#[test]
fn a_step_that_fails_is_unwound_to_something_whole() {
    at_every_point(|mut world, kind, before, begun, told| {
        // A destroy only goes forward, and Thaw's one effect is what was asked for.
        if matches!(kind, PlanKind::Destroy) || begun.is_empty() {
            return;
        }
        let undo = kind.unwind(before, begun);
        for step in &undo {
            world.apply(*step);
        }
        for step in &undo {
            if !matches!(step, Step::Run) {
                world.apply(*step);
            }
        }
        // What is left for a restart to do must be only what has no undoing.
        if kind == PlanKind::Wake || kind == PlanKind::Sleep || kind == PlanKind::Thaw {
            world.restart();
        }
        world.check(told);
    });
}
