//! Runs plans: each step journalled, each failure unwound.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bhatti_guest::link::Link;
use bhatti_host::process::ProcessId;
use bhatti_image::image::Image;
use bhatti_lifecycle::idle::IdlePolicy;
use bhatti_lifecycle::plan::{PlanKind, Step};
use bhatti_lifecycle::state::State;
use bhatti_store::attachment::AttachedVolume;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::SnapshotRow;
use bhatti_types::id::SnapshotId;
use bhatti_vmm::machine::{Halt, Machine};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tracing::Instrument as _;

use super::journal::Journal;
use super::leases::Leases;
use crate::checkpoint::SavedVolume;
use crate::clock;
use crate::context::Context;
use crate::error::Error;
use crate::fault::Moment;
use crate::templates::build::Wanted;
use crate::templates::registry::TemplateLease;
use crate::view::SandboxView;

/// What a plan works with besides the sandbox itself.
pub(crate) enum Material {
    /// Nothing.
    None,
    /// The image a new sandbox is made from, by booting it.
    Image(Box<Image>),
    /// The image a new sandbox is made from, by its template if there is one to be had.
    Wanted(Box<Wanted>),
    /// The template a new sandbox, or a clone in stock, goes on from.
    Template(Box<TemplateLease>),
    /// What a template is made of.
    Build(Box<Wanted>),
    /// The checkpoint that is being taken.
    Snapshot(Box<SnapshotRow>),
    /// What a machine goes on from.
    Saved(Saved),
    /// Where a fork puts what its copies go on from.
    Fork(ForkPoint),
}

/// A directory with device state, memory and a disk of one instant, from which any number of
/// machines go on: a checkpoint, or what a fork has captured.
#[derive(Debug, Clone)]
pub(crate) struct Saved {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// Whether its bytes are to be checked.
    pub(crate) trust: Trust,
    /// What it was saved under: `kvm` or `tcg`.
    pub(crate) accelerator: Option<String>,
    /// The checkpoint that it is, for the journal.
    pub(crate) snapshot: Option<SnapshotId>,
    /// The volumes that it had.
    pub(crate) volumes: Vec<SavedVolume>,
}

/// Whether the bytes of a saved machine are to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Against its manifest: it may be old.
    Manifest,
    /// This daemon wrote it just now, and it has no manifest.
    JustWritten,
}

/// A directory into which a fork captures its source.
#[derive(Debug, Clone)]
pub(crate) struct ForkPoint {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// How long the source stood still, once it is known.
    pub(crate) stall: Duration,
}

/// A sandbox and the plan it is in.
pub(crate) struct Work {
    pub(crate) ctx: Arc<Context>,
    pub(crate) row: SandboxRow,
    pub(crate) machine: Option<Arc<dyn Machine>>,
    pub(crate) link: Option<Link>,
    pub(crate) material: Material,
    /// The volumes it has, by their places. Only its own task changes that.
    pub(crate) volumes: Vec<AttachedVolume>,
    /// Where its files are, if it is the machine that a template is made of and no sandbox.
    pub(crate) place: Option<PathBuf>,
    /// Who uses it.
    pub(crate) leases: Arc<Leases>,
    /// When the vCPUs were paused for a checkpoint, while they are.
    pub(super) paused_at: Option<Instant>,
    /// When the vCPUs were paused for idleness or by hand, while they are.
    pub(super) warm_since: Option<Instant>,
    /// Set when what is being captured is not wanted any more.
    pub(super) cancel: Arc<AtomicBool>,
    /// vCPUs were let go on in the middle of a plan, because the machine was asked for.
    went_on: bool,
    /// Why its vCPUs have stopped of themselves, until it is hot again.
    pub(super) halted: Option<Halt>,
    /// What is written down of the plan that is running.
    pub(super) journal: Option<Journal>,
    /// Its machine's card is plugged into a tap.
    pub(crate) plugged: bool,
    /// A new disk being made durable while the machine boots.
    pub(super) disk_sync: Option<JoinHandle<std::io::Result<()>>>,
}

/// What is stored to find a machine again: the `machine` column.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MachineRecord {
    /// Its process.
    pub(crate) process: ProcessId,
    /// The host's boot in which it was started; a pid says nothing about another boot.
    #[serde(default)]
    pub(crate) boot: Option<String>,
    /// Whether its card is plugged into a tap.
    #[serde(default)]
    pub(crate) plugged: bool,
}

impl Work {
    pub(crate) fn new(
        ctx: Arc<Context>,
        row: SandboxRow,
        machine: Option<Arc<dyn Machine>>,
    ) -> Self {
        let recorded = row
            .machine
            .as_deref()
            .map(serde_json::from_str::<MachineRecord>);
        let plugged = matches!(recorded, Some(Ok(record)) if record.plugged);
        let is_warm = State::from_shown(row.status, row.thermal) == State::Warm;
        Self {
            ctx,
            row,
            machine,
            link: None,
            material: Material::None,
            volumes: Vec::new(),
            place: None,
            leases: Leases::new(),
            paused_at: None,
            warm_since: is_warm.then(clock::now),
            cancel: Arc::default(),
            went_on: false,
            plugged,
            halted: None,
            journal: None,
            disk_sync: None,
        }
    }

    /// What is shown of it.
    pub(crate) fn view(&self) -> SandboxView {
        super::actor::view(&self.row, &self.volumes)
    }

    /// What holds for it when it is idle.
    pub(crate) fn policy(&self) -> IdlePolicy {
        self.ctx.policies.of(&self.row.user, self.row.idle)
    }

    /// When it became warm, while it is.
    pub(crate) fn warm_since(&self) -> Option<Instant> {
        self.warm_since.filter(|_| self.state() == State::Warm)
    }

    /// What its VMM has used of the processor, if that can be told.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        let process = self.machine.as_ref()?.process();
        bhatti_host::process::cpu_time(process).ok()
    }

    /// Its recorded state.
    pub(crate) fn state(&self) -> State {
        State::from_shown(self.row.status, self.row.thermal)
    }

    /// Where its files are.
    pub(super) fn dir(&self) -> PathBuf {
        let sandbox = || self.ctx.layout.sandbox(&self.row.id);
        self.place.clone().unwrap_or_else(sandbox)
    }

    /// Makes a new sandbox by a plan; one of an image is made from its template if there is one to
    /// be had, which may have to be made first.
    pub(crate) async fn make(&mut self, kind: PlanKind, material: Material) -> Result<(), Error> {
        let (kind, material) = match material {
            Material::Wanted(wanted) => match self.ctx.template(&wanted).await {
                Ok(Some(lease)) => (PlanKind::Clone, Material::Template(Box::new(lease))),
                Ok(None) => (PlanKind::Create, Material::Image(Box::new(wanted.image))),
                Err(error) => {
                    self.never_begun(kind).await;
                    return Err(error);
                }
            },
            other => (kind, other),
        };
        self.material = material;
        let result = self.run(kind).await;
        self.material = Material::None;
        result
    }

    /// Takes away a clone in stock. What goes wrong is left to the next start of the daemon.
    pub(crate) async fn give_up(mut self) {
        for step in PlanKind::Stock.unwind(self.state(), &[]) {
            if let Err(error) = self.perform(PlanKind::Stock, step).await {
                tracing::error!(
                    clone = %self.row.id,
                    step = step.as_str(),
                    error = &error as &dyn std::error::Error,
                    "a clone in stock was not taken away"
                );
                break;
            }
        }
    }

    /// Runs a plan to its end, or unwinds it and gives the error that broke it.
    pub(crate) async fn run(&mut self, kind: PlanKind) -> Result<(), Error> {
        let span = tracing::info_span!("plan", kind = kind.as_str(), sandbox = %self.row.id);
        self.run_steps(kind).instrument(span).await
    }

    async fn run_steps(&mut self, kind: PlanKind) -> Result<(), Error> {
        let before = self.state();
        let detail = match &self.material {
            Material::Snapshot(snapshot) => serde_json::json!({ "snapshot": snapshot.id }),
            Material::Saved(Saved {
                snapshot: Some(id), ..
            }) => serde_json::json!({ "snapshot": id }),
            Material::Template(lease) => serde_json::json!({ "template": lease.id }),
            Material::None
            | Material::Image(_)
            | Material::Wanted(_)
            | Material::Build(_)
            | Material::Saved(_)
            | Material::Fork(_) => {
                serde_json::json!({})
            }
        };
        self.journal = Some(Journal::new(kind, self.row.id.to_string(), detail));
        let mut failure = None;
        let mut begun = 0;
        for (index, step) in kind.steps().iter().enumerate() {
            begun = index + 1;
            let result = match kind {
                PlanKind::Sleep => self.take_unless_wanted(index, *step).await,
                _ => self.take(kind, index, *step).await,
            };
            if result.is_err() && !self.journal.as_ref().is_some_and(Journal::is_begun) {
                // Nothing was done either.
                self.journal = None;
                self.never_begun(kind).await;
                return result;
            }
            if let Err(Error::Woken) = result {
                tracing::info!(
                    step = step.as_str(),
                    "it was asked for, and does not go to sleep"
                );
                failure = Some(Error::Woken);
                break;
            }
            if let Err(error) = result {
                tracing::warn!(
                    step = step.as_str(),
                    error = &error as &dyn std::error::Error,
                    "a step failed; the plan is unwound"
                );
                failure = Some(error);
                break;
            }
        }
        if failure.is_some() {
            if let Some(journal) = &mut self.journal {
                journal.broke();
            }
            let begun = &kind.steps()[..begun];
            if begun.contains(&Step::Greet) || begun.contains(&Step::Refresh) {
                // The guest may not know yet who it is, or what time: whoever wants it next tells
                // it first.
                self.link = None;
            }
            for step in kind.unwind(before, begun) {
                if let Err(error) = self.perform(kind, step).await {
                    if step == Step::Run {
                        // It may stand still: whoever wants it next has it run first.
                        self.link = None;
                    }
                    tracing::error!(
                        step = step.as_str(),
                        error = &error as &dyn std::error::Error,
                        "a step of the unwinding failed; what relies on it is left to the next start"
                    );
                    if PlanKind::holds_up_unwinding(step) {
                        break;
                    }
                }
            }
        }
        if std::mem::take(&mut self.went_on)
            && self.state() == State::Warm
            && let Err(error) = self.note(State::Hot).await
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "that it runs was not recorded"
            );
        }
        // What was done is done: an entry that stays open is only told about at the next start.
        if let Err(error) = self.journal_close().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the journal was not closed"
            );
        }
        failure.map_or(Ok(()), Err)
    }

    /// Takes back the record that was made for a plan which then did not begin.
    async fn never_begun(&mut self, kind: PlanKind) {
        let steps: &[Step] = match kind {
            PlanKind::Create | PlanKind::Clone | PlanKind::Resume => &[Step::Forget],
            PlanKind::Take => &[Step::KillMachine, Step::Forget, Step::RemoveDirectory],
            PlanKind::Checkpoint | PlanKind::CheckpointCold | PlanKind::Keep => {
                &[Step::ForgetSnapshot]
            }
            PlanKind::Stock
            | PlanKind::BuildTemplate
            | PlanKind::Boot
            | PlanKind::Wake
            | PlanKind::Thaw
            | PlanKind::Cool
            | PlanKind::Sleep
            | PlanKind::Fork
            | PlanKind::ForkCold
            | PlanKind::Rollback
            | PlanKind::Destroy => &[],
        };
        for step in steps {
            if let Err(error) = self.perform(kind, *step).await {
                tracing::error!(
                    step = step.as_str(),
                    error = &error as &dyn std::error::Error,
                    "a record was left"
                );
                break;
            }
        }
    }

    /// Takes a step of going to sleep, or breaks off because a request wants the machine: then
    /// its vCPUs go on at once, whatever is still being written.
    async fn take_unless_wanted(&mut self, index: usize, step: Step) -> Result<(), Error> {
        // A new flag: the last sleep may have been broken off.
        let cancel = Arc::new(AtomicBool::new(false));
        self.cancel = cancel.clone();
        // The image holds from the commit on. Waking from it is no matter of waiting for a disk.
        let holds = matches!(step, Step::CommitCold | Step::KillMachine);
        if holds || self.ctx.is_going_down() {
            return self.take(PlanKind::Sleep, index, step).await;
        }
        let (leases, machine, link) =
            (self.leases.clone(), self.machine.clone(), self.link.clone());
        if leases.is_wanted() {
            return Err(Error::Woken);
        }
        let mut went_on = false;
        {
            let taking = self.take(PlanKind::Sleep, index, step);
            tokio::pin!(taking);
            tokio::select! {
                biased;
                result = &mut taking => return result,
                () = leases.wanted() => {}
            }
            if matches!(step, Step::SaveCold | Step::SealCold) {
                cancel.store(true, Ordering::Relaxed);
                if let Some(machine) = &machine {
                    went_on = machine.resume().await.is_ok();
                }
                if went_on && let Some(link) = link.filter(Link::is_open) {
                    super::steps::set_clock(&link).await;
                    leases.open(link);
                }
                // It must write no more when its files are deleted.
                let _ = taking.await;
            } else if step == Step::Pause {
                let _ = taking.await;
            }
            // Syncing waits for the guest, which is not to be waited for.
        }
        self.went_on |= went_on;
        Err(Error::Woken)
    }

    async fn take(&mut self, kind: PlanKind, index: usize, step: Step) -> Result<(), Error> {
        self.journal_step(index, step).await?;
        self.ctx
            .faults
            .at(kind, step, Moment::Before)
            .map_err(Error::internal)?;
        let span = tracing::debug_span!("step", name = step.as_str());
        self.perform(kind, step).instrument(span).await?;
        self.ctx
            .faults
            .at(kind, step, Moment::After)
            .map_err(Error::internal)
    }
}
