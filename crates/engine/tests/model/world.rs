//! A host, a daemon on it, and what is known of both.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bhatti_engine::engine::Engine;
use bhatti_engine::layout::{Layout, file};
use bhatti_engine::request::Caller;
use bhatti_lifecycle::state::State;
use bhatti_store::store::Store;
use bhatti_testing::fake_vmm::fault::Act;
use bhatti_testing::fake_vmm::host::FakeHost;
use bhatti_testing::fake_vmm::stage;
use bhatti_types::id::SandboxId;
use bhatti_types::labels::Labels;
use bhatti_types::state::Status;

use crate::batch::Batch;
use crate::daemon::Daemon;
use crate::expect::{self, Before};
use crate::found::{Found, Left, state};
use crate::ground::{directory, flip, may_run};
use crate::known::Known;
use crate::op::{After, Break, Name, Op, Request, Setup, Snap};
use crate::requests::requests;
use crate::steps::{Effect, StepFaults};

/// Longer than a call that breaks may take.
const BROKEN_CALL: Duration = Duration::from_mins(1);

/// What went wrong, in words; the case has failed.
pub(crate) type Wrong = String;

pub(crate) struct World {
    setup: Setup,
    layout: Layout,
    pub(crate) host: FakeHost,
    steps: Arc<StepFaults>,
    store: Store,
    daemon: Option<Daemon>,
    pub(crate) known: Known,
    left: Left,
    /// Machines whose agents are silent, by pid.
    silent: BTreeMap<Name, u32>,
    /// Sandboxes whose sleeping memory was damaged.
    damaged: BTreeSet<SandboxId>,
    /// Numbers that guests were told to remember.
    number: u64,
    /// What was done and what came of it.
    pub(crate) story: Vec<String>,
    /// Last, for all of the above uses it.
    _dir: tempfile::TempDir,
}

impl World {
    /// A host with a daemon that has a guest kit and an image, and nothing else.
    pub(crate) fn new(setup: Setup) -> Result<Self, Wrong> {
        let dir = directory();
        stage::install(dir.path());
        let (host, steps) = (FakeHost::default(), Arc::<StepFaults>::default());
        let daemon = start(dir.path(), setup, &host, &steps)?;
        let layout = Layout::new(dir.path().to_owned());
        let store = Store::open(&layout.database()).expect("the database opens");
        let (records, seen) = (store.clone(), Mutex::new(BTreeSet::new()));
        host.before_run(move |id| may_run(&records, &seen, id));
        Ok(Self {
            setup,
            layout,
            host,
            steps,
            store,
            daemon: Some(daemon),
            known: Known::default(),
            left: Left::default(),
            silent: BTreeMap::new(),
            damaged: BTreeSet::new(),
            number: 1,
            story: Vec::new(),
            _dir: dir,
        })
    }

    /// Does one thing, and looks whether all is as it may be.
    pub(crate) fn apply(&mut self, op: Op) -> Result<(), Wrong> {
        self.story.push(format!("{op:?}"));
        match op {
            Op::One(request) => self.ask(request, None, None),
            Op::Two(one, two) => self.ask(one, Some(two), None),
            Op::Broken(one, two, broken) => self.ask(one, two, Some(broken)),
            Op::Killed(one, two, point) => self.ask_and_kill(one, two, point),
            Op::KilledIdle => {
                self.daemon().kill();
                self.begin_again(&Batch::default())
            }
            Op::Restart => {
                self.daemon().close(&self.host.clone())?;
                self.begin_again(&Batch::default())
            }
            Op::BrokenRestart(broken) => self.restart_broken(broken),
            Op::KilledRestart(point) => {
                self.daemon().kill();
                self.plan(point, Effect::Fail);
                let root = self.layout.root();
                let started = Daemon::start_and_kill(root, self.setup, &self.host, &self.steps);
                self.cleared(None);
                started.map_err(|error| expect::chain(&error))?;
                self.begin_again(&Batch::default())
            }
            Op::LosePower => {
                let daemon = self.daemon();
                // The daemon goes with its host and sees nothing of it.
                daemon.kill();
                self.host.lose_power();
                self.begin_again(&Batch::default())
            }
            Op::GoDown => {
                self.sleep_all(true)?;
                let daemon = self.daemon();
                daemon.kill();
                self.host.lose_power();
                self.begin_again(&Batch::default())
            }
            Op::SleepAll => self.sleep_all(false),
            Op::Damage(name) => {
                self.daemon().kill();
                if let Some(row) = self.found().row(name)
                    && state(row) == State::Cold
                {
                    // Not twice, which would mend it.
                    if self.damaged.insert(row.id.clone()) {
                        flip(&self.layout.cold(&row.id).join(file::MEMORY));
                    }
                }
                self.begin_again(&Batch::default())
            }
            Op::End(name) => {
                if let Some(guest) = self.known.guests.get(&name) {
                    self.host.end_machine(&guest.id);
                }
                self.settle()?;
                self.conclude(&Batch::default())
            }
            Op::Halt(name) => self.halt(name),
            Op::Pass(minutes) => {
                let found = self.found();
                let kept = found
                    .rows
                    .iter()
                    .filter(|row| state(row) == State::Hot && row.idle.keep_hot == Some(true));
                let kept: Vec<SandboxId> = kept.map(|row| row.id.clone()).collect();
                let daemon = self.daemon.as_ref().expect("a daemon runs");
                daemon.run(&self.host, async |_, _| {
                    tokio::time::sleep(Duration::from_mins(minutes)).await;
                })?;
                self.conclude(&Batch::default())?;
                self.idled(minutes, &kept)
            }
            Op::Silence(name) => {
                let found = self.found();
                let process = found.row(name).and_then(|row| found.process(row));
                if let Some(process) = process {
                    self.host.silence(&process.sandbox, true);
                    self.silent.insert(name, process.pid);
                }
                Ok(())
            }
            Op::Speak(name) => {
                if self.silent.remove(&name).is_some()
                    && let Some(guest) = self.known.guests.get(&name)
                {
                    self.host.silence(&guest.id, false);
                }
                Ok(())
            }
        }
    }

    /// Puts all to disk, as far as it can be.
    fn sleep_all(&mut self, going_down: bool) -> Result<(), Wrong> {
        let daemon = self.daemon.as_ref().expect("a daemon runs");
        let slept = daemon.run(&self.host, async |engine, _| {
            engine.sleep_all(Duration::from_mins(5), going_down).await
        })?;
        let slept = slept.map_err(|error| expect::chain(&error))?;
        self.story.push(format!("    {slept:?}"));
        self.conclude(&Batch::default())?;
        for row in &self.found().rows {
            let told = slept.awake.iter().any(|awake| awake.name == row.name);
            if matches!(state(row), State::Hot | State::Warm) && !told {
                return Err(format!("{} does not sleep, and nobody is told", row.name));
            }
            if told && !self.left.any() {
                return Err(format!("{} was not put to sleep", row.name));
            }
        }
        Ok(())
    }

    /// Makes one or two requests, and breaks something meanwhile.
    fn ask(
        &mut self,
        one: Request,
        two: Option<After>,
        broken: Option<Break>,
    ) -> Result<(), Wrong> {
        let mut batch = self.batch(one, two);
        if let Some(broken) = broken {
            self.plan(broken, Effect::Fail);
        }
        let numbers = batch.numbers();
        let outcomes = RefCell::new(numbers.iter().map(|_| None).collect());
        let daemon = self.daemon.as_ref().expect("a daemon runs");
        let done = daemon.run(&self.host, async |engine, caller| {
            Box::pin(requests(
                engine,
                caller,
                &self.steps,
                &numbers,
                two,
                &outcomes,
            ))
            .await;
            if let Some(Break::Vmm(_, _, Act::TimeOut | Act::Hang)) = broken {
                // It may be the stock that it has met.
                tokio::time::sleep(BROKEN_CALL).await;
            }
        });
        let broke = self.cleared(broken);
        batch.done(outcomes.into_inner());
        self.tell(&batch);
        done?;
        batch.broken = broke;
        self.conclude(&batch)
    }

    fn ask_and_kill(
        &mut self,
        one: Request,
        two: Option<After>,
        point: Break,
    ) -> Result<(), Wrong> {
        let mut batch = self.batch(one, two);
        self.plan(point, Effect::Kill);
        let numbers = batch.numbers();
        let outcomes = RefCell::new(numbers.iter().map(|_| None).collect());
        let daemon = self.daemon();
        let done = daemon.run_until_killed(&self.host, &self.steps, async |engine, caller| {
            Box::pin(requests(
                engine,
                caller,
                &self.steps,
                &numbers,
                two,
                &outcomes,
            ))
            .await;
        });
        daemon.kill();
        self.host.faults().clear();
        self.steps.clear();
        batch.done(outcomes.into_inner());
        // Whatever it left, the next start has gone over it.
        batch.disturbed = true;
        batch.broken = true;
        self.tell(&batch);
        done?;
        self.begin_again(&batch)
    }

    fn restart_broken(&mut self, broken: Break) -> Result<(), Wrong> {
        self.daemon().kill();
        self.plan(broken, Effect::Fail);
        let started = start(self.layout.root(), self.setup, &self.host, &self.steps);
        let broke = self.cleared(Some(broken));
        match started {
            Ok(daemon) => {
                self.daemon = Some(daemon);
                self.settle()?;
                self.conclude(&Batch::default())
            }
            Err(wrong) if !broke => Err(wrong),
            Err(wrong) => {
                self.story.push(format!("    it does not start: {wrong}"));
                self.begin_again(&Batch::default())
            }
        }
    }

    /// Starts a daemon after one has ended: it leaves nothing half done, whatever was.
    fn begin_again(&mut self, batch: &Batch) -> Result<(), Wrong> {
        self.daemon = Some(start(
            self.layout.root(),
            self.setup,
            &self.host,
            &self.steps,
        )?);
        self.left = Left::default();
        self.settle()?;
        self.conclude(batch)
    }

    /// Runs something with the daemon.
    pub(crate) fn with_daemon<T>(
        &self,
        work: impl AsyncFnOnce(&Engine, &Caller) -> T,
    ) -> Result<T, Wrong> {
        let daemon = self.daemon.as_ref().expect("a daemon runs");
        daemon.run(&self.host, work)
    }

    pub(crate) fn settle(&self) -> Result<(), Wrong> {
        let daemon = self.daemon.as_ref().expect("a daemon runs");
        daemon.run(&self.host, async |_, _| ())
    }

    fn batch(&mut self, one: Request, two: Option<After>) -> Batch {
        let found = self.found();
        let mut batch = Batch::default();
        for request in [Some(one), two.map(|After(_, request)| request)]
            .into_iter()
            .flatten()
        {
            let row = request.name().and_then(|name| found.row(name));
            let source = request.source().and_then(|name| found.row(name));
            let snapshot = request.snap().and_then(|snap| found.snapshot(snap));
            let damaged = source.or(row).map(|row| self.damaged.contains(&row.id));
            let before = Before {
                state: row.map(state),
                source: source.map(state),
                damaged: damaged == Some(true),
                snapshot: snapshot.is_some(),
                own: snapshot
                    .is_some_and(|snapshot| row.is_some_and(|row| row.id == snapshot.source_id)),
            };
            batch.add(request, self.number, before);
            self.number += 1;
        }
        batch.disturbed = self.left.hampers()
            || self.silent.iter().any(|(name, pid)| {
                let process = found.row(*name).and_then(|row| found.process(row));
                process.is_some_and(|process| process.pid == *pid)
            });
        batch
    }

    fn plan(&self, broken: Break, effect: Effect) {
        match broken {
            Break::Vmm(call, pass, act) => self.host.faults().plan(call, pass, act),
            Break::Step(pass, moment) => self.steps.plan(pass, moment, effect),
        }
    }

    /// Takes the faults back, and says whether one was met.
    fn cleared(&mut self, broken: Option<Break>) -> bool {
        let calls = self.host.faults().clear();
        for call in &calls {
            self.left.broke(*call);
        }
        let step = self.steps.clear() && matches!(broken, Some(Break::Step(..)));
        self.left.destroying |= step;
        step || !calls.is_empty()
    }

    /// Nothing is going on: takes in what came of a batch, and looks whether it may be so.
    pub(crate) fn conclude(&mut self, batch: &Batch) -> Result<(), Wrong> {
        let found = self.found();
        self.story.push(format!("    {}", found.told()));
        // Its memory is whole again once it has been given up.
        self.damaged.retain(|id| {
            let row = found.rows.iter().find(|row| row.id == *id);
            row.is_some_and(|row| matches!(state(row), State::Cold | State::Failed))
        });
        batch.answers(&self.known)?;
        let deaths = self.host.deaths();
        batch.leaves(&found, &deaths)?;
        batch.take_in(&mut self.known, &found, &deaths, self.left)?;
        found.agrees(&self.layout, self.left, self.setup.stock)?;
        self.shown_agrees(&found)?;
        match self.host.violations().first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    /// Nobody has used any sandbox for so long: all that may, are paused or on disk.
    fn idled(&self, minutes: u64, kept: &[SandboxId]) -> Result<(), Wrong> {
        for row in &self.found().rows {
            let state = state(row);
            let late = state == State::Hot || state == State::Warm && minutes > 31;
            if late && row.idle.keep_hot != Some(true) && !self.left.any() {
                let name = &row.name;
                return Err(format!("{name} is {state:?} after {minutes} idle minutes"));
            }
            if state != State::Hot && kept.contains(&row.id) {
                let name = &row.name;
                return Err(format!("{name} was to be kept hot, and is {state:?}"));
            }
        }
        Ok(())
    }

    /// Whether the engine shows what is recorded.
    fn shown_agrees(&self, found: &Found) -> Result<(), Wrong> {
        let daemon = self.daemon.as_ref().expect("a daemon runs");
        let shown = daemon.run(&self.host, async |engine, caller| {
            engine.sandbox_list(caller, &Labels::default()).await
        })?;
        let shown = shown.map_err(|error| expect::chain(&error))?;
        for row in &found.rows {
            let half = matches!(state(row), State::Creating | State::Destroying);
            let view = shown.iter().find(|view| view.id == row.id);
            match view {
                None if half && self.left.any() => {}
                Some(view) if (view.status, view.thermal) == (row.status, row.thermal) => {}
                other => {
                    let shown = other.map(|view| (view.status, view.thermal));
                    return Err(format!("{} is {:?}, shown {shown:?}", row.name, state(row)));
                }
            }
        }
        for view in &shown {
            // One whose destroy broke after its record was gone.
            let nearly = view.status == Status::Destroying && self.left.destroying;
            if !nearly && !found.rows.iter().any(|row| row.id == view.id) {
                return Err(format!("{} is shown and has no record", view.name));
            }
        }
        Ok(())
    }

    /// The end of every case: all that is known is still there, and all of it can be taken away.
    pub(crate) fn end(&mut self) -> Result<(), Wrong> {
        if self.left.hampers() {
            self.apply(Op::KilledIdle)?;
        }
        for name in Name::ALL {
            if self.known.guests.contains_key(&name) {
                self.apply(Op::Speak(name))?;
                let damaged = self.known.guests.get(&name).map(|guest| &guest.id);
                if damaged.is_some_and(|id| self.damaged.contains(id)) {
                    self.apply(Op::One(Request::Read(name)))?;
                }
                let failed = self.found().row(name).map(state) == Some(State::Failed);
                if failed {
                    self.apply(Op::One(Request::Force(name)))?;
                }
                self.apply(Op::One(Request::Read(name)))?;
                self.apply(Op::One(Request::Destroy(name)))?;
            }
        }
        for snap in Snap::ALL {
            if self.known.snaps.contains_key(&snap) {
                let name = Name::A;
                self.apply(Op::One(Request::Resume(snap, name)))?;
                self.apply(Op::One(Request::Read(name)))?;
                self.apply(Op::One(Request::Forget(snap)))?;
                self.apply(Op::One(Request::Destroy(name)))?;
            }
        }
        for kept in self.found().snapshots {
            // What rollbacks kept.
            let deleted = self.with_daemon(async |engine, caller| {
                engine.snapshot_delete(caller, &kept.name).await
            })?;
            deleted.map_err(|error| expect::chain(&error))?;
        }
        let found = self.found();
        if !found.rows.is_empty() || !found.snapshots.is_empty() {
            return Err("not all could be taken away".to_owned());
        }
        self.daemon().close(&self.host.clone())
    }

    pub(crate) fn found(&self) -> Found {
        Found::look(&self.layout, &self.store, &self.host)
    }

    fn daemon(&mut self) -> Daemon {
        self.daemon.take().expect("a daemon runs")
    }

    fn tell(&mut self, batch: &Batch) {
        self.story.extend(batch.told());
    }
}

fn start(
    dir: &Path,
    setup: Setup,
    host: &FakeHost,
    steps: &Arc<StepFaults>,
) -> Result<Daemon, Wrong> {
    Daemon::start(dir, setup, host, steps).map_err(|error| expect::chain(&error))
}
