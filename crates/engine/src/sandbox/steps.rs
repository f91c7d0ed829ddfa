//! What each step does.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bhatti_guest::agent::NextTimer;
use bhatti_guest::identity::Identity;
use bhatti_guest::link::{Greeting, Link};
use bhatti_image::kit::KitId;
use bhatti_lifecycle::plan::{PlanKind, Step};
use bhatti_lifecycle::state::State;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::SnapshotStatus;
use bhatti_store::store::Txn;
use bhatti_types::id::hex;
use bhatti_types::run::Init;
use bhatti_vmm::machine::{Accelerator, Devices, MachineSpec};
use jiff::Timestamp;

use super::halted::stands_still;
use super::journal::Durability;
use super::volumes::Attaching;
use super::work::{MachineRecord, Material, Work};
use crate::clock;
use crate::error::Error;
use crate::layout::file;

/// Time for a guest to boot to its agent. Under software emulation it takes about 4 s alone, and
/// many times that when many boot at once.
const BOOT_LIMIT: Duration = Duration::from_mins(3);
/// Time for the agent of a running guest to take up a new conversation.
const RESYNC_LIMIT: Duration = Duration::from_secs(30);
/// Time for the agent to answer a call that does little.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(30);
/// Time for the agent to set its clock. Nothing waits for it but the checkpoint.
const CLOCK_LIMIT: Duration = Duration::from_secs(5);
/// Time for the guest to write its file systems out before it goes to sleep. Not finishing is no
/// harm: what is not written is in its memory.
const SYNC_LIMIT: Duration = Duration::from_secs(10);
/// Time for the agent to look through its guest's timers; it takes up to 3 s itself.
const TIMERS_LIMIT: Duration = Duration::from_secs(5);
/// Randomness given to a guest, in bytes: the kernel's pool holds 256 bits.
const ENTROPY: usize = 64;

impl Work {
    /// Takes one step. Each can be taken again.
    pub(super) async fn perform(&mut self, plan: PlanKind, step: Step) -> Result<(), Error> {
        match step {
            Step::MakeDirectory => self.make_directory().await,
            Step::RemoveDirectory => self.remove_directory().await,
            Step::CloneImageDisk => self.clone_image_disk().await,
            Step::CloneSavedDisk => self.clone_saved_disk().await,
            Step::CloneTemplateDisk => self.clone_template_disk().await,
            Step::EmptyMemory => self.empty_memory().await,
            Step::LinkSavedMemory => self.link_saved_memory().await,
            Step::LinkColdMemory => self.link_cold_memory().await,
            Step::LinkTemplateMemory => self.link_template_memory().await,
            Step::Launch => self.launch(plan, None).await,
            Step::LaunchSaved => {
                let own = || self.row.accelerator.clone();
                let (dir, accelerator) = match &self.material {
                    Material::Saved(saved) => (saved.dir.clone(), saved.accelerator.clone()),
                    Material::Template(lease) => (lease.dir.clone(), own()),
                    _ => (self.ctx.layout.cold(&self.row.id), own()),
                };
                // What was saved under one accelerator goes on under the same.
                self.row.accelerator = accelerator;
                let launched = self.launch(plan, Some(dir.join(file::STATE))).await;
                self.note_broken(&launched);
                launched
            }
            Step::KillMachine => self.kill_machine(plan).await,
            Step::Run => self.let_run(plan).await,
            Step::Pause => self.pause().await,
            Step::Greet => self.greet(plan).await,
            Step::Identify => self.identify(plan).await,
            Step::AttachVolumes => {
                let why = match plan {
                    PlanKind::Boot => Attaching::Boot,
                    _ => Attaching::Asked,
                };
                self.attach_volumes(why).await
            }
            Step::PrepareGuest => self.prepare_guest().await,
            Step::Refresh => self.refresh().await,
            Step::SyncGuest => {
                self.sync_guest().await;
                Ok(())
            }
            Step::SaveCold => self.save_cold().await,
            Step::SealCold => self.seal_cold().await,
            Step::RemoveCold => self.remove_cold().await,
            Step::MakeSnapshotDirectory => self.make_snapshot_directory().await,
            Step::SaveSnapshot => self.save_snapshot().await,
            Step::CopyCold => self.copy_cold().await,
            Step::SealSnapshot => self.seal_snapshot().await,
            Step::RemoveSnapshotDirectory => self.remove_snapshot_directory().await,
            Step::MakeForkDirectory => self.make_fork_directory().await,
            Step::SaveFork => self.save_fork().await,
            Step::CopyColdFork => self.copy_cold_fork().await,
            Step::RemoveForkDirectory => self.remove_fork_directory().await,
            Step::CopyAside => self.copy_aside().await,
            Step::SwapDisk => self.swap_disk().await,
            Step::RemoveAside => self.remove_aside().await,
            Step::MakeTemplateDirectory => self.make_template_directory().await,
            Step::SaveTemplate => self.save_template().await,
            Step::SealTemplate => self.seal_template().await,
            Step::RemoveTemplateDirectory => self.remove_template_directory().await,
            Step::CommitHot => self.commit(State::Hot).await,
            Step::NoteHot => self.note(State::Hot).await,
            Step::NoteWarm => self.note(State::Warm).await,
            Step::CommitCold => self.commit(State::Cold).await,
            Step::CommitOff => self.commit(State::Off).await,
            Step::CommitDestroying => self.commit(State::Destroying).await,
            Step::CommitSnapshot => self.commit_snapshot().await,
            Step::Forget => {
                let id = self.row.id.clone();
                let forget = move |txn: &Txn<'_>| txn.sandbox_delete(&id);
                // It is recorded as half made or half gone: the next start would delete what comes
                // back.
                self.change(Durability::Relaxed, forget).await
            }
            Step::ForgetSnapshot => {
                let id = self.snapshot()?.id.clone();
                let forget = move |txn: &Txn<'_>| txn.snapshot_delete(&id);
                self.change(Durability::Durable, forget).await
            }
        }
    }

    async fn launch(
        &mut self,
        plan: PlanKind,
        state: Option<std::path::PathBuf>,
    ) -> Result<(), Error> {
        let id: KitId = self.row.kit.parse().map_err(Error::internal)?;
        let kit = self.ctx.kits.get(&id)?;
        let devices =
            Devices::from_number(kit.manifest.devices).ok_or_else(|| Error::Unavailable {
                message: format!("guest kit {id} is for machines that this version does not make"),
                hint: Some("use the bhatti that made it, or a newer one".to_owned()),
            })?;
        let accelerator = match self.row.accelerator.as_deref() {
            Some("kvm") if state.is_some() => Accelerator::Kvm,
            Some("tcg") if state.is_some() => Accelerator::Tcg,
            _ => self.ctx.accelerator(&kit).await?,
        };
        self.row.accelerator = Some(accelerator.as_str().to_owned());
        // A template has no name: each of its clones gets one.
        let mut command_line = match self.place {
            Some(_) => Vec::new(),
            None => vec![format!("bhatti.hostname={}", self.row.name)],
        };
        // What boots, or goes on from where nobody had any, gets them afterwards.
        let volumes = match (&state, &self.material) {
            (None, _) | (Some(_), Material::Template(_)) => Vec::new(),
            (Some(_), _) => self.volume_disks(),
        };
        if self.row.init == Init::Systemd {
            command_line.push("bhatti.init=systemd".to_owned());
        }
        let nic = self.plug(plan, devices).await?;
        let spec = MachineSpec {
            data_dir: self.ctx.data_dir.clone(),
            sandbox: self.row.id.clone(),
            dir: self.dir(),
            cpus: self.row.cpus,
            memory: self.row.memory,
            kernel: kit.kernel(),
            initrd: kit.initrd(),
            command_line,
            devices,
            disk: true,
            volumes,
            nic,
            accelerator,
            state,
        };
        let turn = self.ctx.admission.turn().await?;
        self.machine = Some(self.ctx.vmm.launch(&spec).await?);
        drop(turn);
        Ok(())
    }

    /// Ends the VMM: the one that is known, or one that an earlier daemon could not take up.
    async fn kill_machine(&mut self, plan: PlanKind) -> Result<(), Error> {
        self.link = None;
        (self.paused_at, self.warm_since) = (None, None);
        if let Some(machine) = self.machine.clone() {
            machine.kill().await?;
        } else {
            let dir = self.dir();
            if !dir.exists() {
                return Ok(());
            }
            for found in self.ctx.vmm.find(&self.ctx.data_dir, &dir).await? {
                self.ctx.vmm.end(found.process).await?;
            }
        }
        self.machine = None;
        self.shut_out().await;
        if plan == PlanKind::Sleep {
            // Nothing maps it any more, and it may be the last name of a deleted checkpoint's.
            self.remove_memory().await?;
        }
        Ok(())
    }

    /// Takes up a conversation with a machine whose link was lost, or that an earlier daemon was
    /// cut off in the middle of starting: its vCPUs may be paused, and it may not know yet who it
    /// is and what time it is.
    pub(crate) async fn relink(&mut self) -> Result<(), Error> {
        self.machine()?.resume().await?;
        self.greet(PlanKind::Wake).await?;
        // As after a boot: it may have been cut off in one.
        self.identify(PlanKind::Boot).await?;
        self.attach_volumes(Attaching::Again).await
    }

    async fn let_run(&mut self, plan: PlanKind) -> Result<(), Error> {
        let captured = matches!(
            plan,
            PlanKind::Checkpoint | PlanKind::Fork | PlanKind::Keep | PlanKind::Rollback
        );
        // A machine that was paused before it was captured stays so.
        if captured && self.state() == State::Warm {
            self.note_stall();
            return Ok(());
        }
        self.machine()?.resume().await?;
        self.note_stall();
        if let (true, Some(link)) = (captured || plan == PlanKind::Sleep, &self.link) {
            set_clock(link).await;
        }
        Ok(())
    }

    /// Has a guest that stood still go on as it was: with the right time, and a link that works.
    async fn refresh(&mut self) -> Result<(), Error> {
        let answers = match &self.link {
            Some(link) if link.is_open() => {
                let now = unix_nanos()?;
                tokio::select! {
                    set = link.set_clock(now, CLOCK_LIMIT) => set.is_ok(),
                    halt = self.machine()?.halted() => return Err(stands_still(halt)),
                }
            }
            _ => false,
        };
        if answers {
            return Ok(());
        }
        self.greet(PlanKind::Thaw).await?;
        self.identify(PlanKind::Thaw).await
    }

    fn note_stall(&mut self) {
        let Some(at) = self.paused_at.take() else {
            return;
        };
        match &mut self.material {
            Material::Snapshot(snapshot) => snapshot.stall_ms = at.elapsed().as_millis() as u64,
            Material::Fork(point) => point.stall = at.elapsed(),
            _ => {}
        }
    }

    async fn pause(&mut self) -> Result<(), Error> {
        self.paused_at = Some(Instant::now());
        Ok(self.machine()?.pause().await?)
    }

    /// Opens the agent link. A guest that boots has no older conversation to break off.
    pub(crate) async fn greet(&mut self, plan: PlanKind) -> Result<(), Error> {
        self.link = None;
        let greeting = match plan {
            PlanKind::Create | PlanKind::Boot | PlanKind::BuildTemplate => Greeting {
                resync: false,
                limit: BOOT_LIMIT,
            },
            _ => Greeting {
                resync: true,
                limit: RESYNC_LIMIT,
            },
        };
        let machine = self.machine()?.clone();
        let opened = tokio::select! {
            opened = Link::connect(|| machine.agent(), greeting) => opened.map_err(Error::from),
            log = machine.ended() => {
                Err(Error::failed("the machine ended before its agent answered", log))
            }
            halt = machine.halted() => Err(stands_still(halt)),
        };
        match opened {
            Ok(link) => {
                self.check_init(&link)?;
                self.link = Some(link);
                Ok(())
            }
            Err(error) => {
                let console = machine.console().await;
                tracing::warn!(sandbox = %self.row.id, ?console, "no answer from the guest");
                Err(error)
            }
        }
    }

    /// Whether process 1 is what it is to be.
    fn check_init(&self, link: &Link) -> Result<(), Error> {
        let found = &link.agent().init;
        if self.row.init != Init::Systemd || found == Init::Systemd.as_str() {
            return Ok(());
        }
        Err(Error::Guest {
            message: format!(
                "image {} has no systemd to be the machine's init",
                self.row.image
            ),
            exit_code: 1,
        })
    }

    /// Tells the guest who it is (invariant 6): a copy gets its own name, machine id and
    /// randomness, and every guest the right clock.
    pub(super) async fn identify(&mut self, plan: PlanKind) -> Result<(), Error> {
        let copy = matches!(
            plan,
            PlanKind::Create | PlanKind::Clone | PlanKind::Take | PlanKind::Resume
        );
        let mut random = [0u8; ENTROPY + 16];
        getrandom::fill(&mut random).map_err(Error::internal)?;
        let (entropy, machine_id) = random.split_at(ENTROPY);

        if plan == PlanKind::Take {
            self.take_seat().await?;
        }
        let identity = Identity {
            hostname: self.row.name.to_string(),
            machine_id: copy.then(|| hex(machine_id)),
            entropy: entropy.to_vec(),
            unix_nanos: Some(unix_nanos()?),
            env: self.row.env.clone(),
            user: self.row.run_as.clone(),
            cwd: self.row.workdir.clone(),
            // What has booted before has grown before: looking again costs a guest that has just
            // been restored a good part of its first milliseconds.
            grow_root: matches!(plan, PlanKind::Create | PlanKind::Boot),
            fresh: copy,
            service: self.row.run.clone(),
            card: self.card(),
        };
        let told = self.link()?.identity(&identity, CALL_LIMIT).await;
        if told.is_err() {
            // Nobody gets a guest that does not know who it is.
            self.link = None;
        }
        told?;
        // From here on, and not before: a copy is never taken for its original.
        let let_in = self.let_in().await;
        if let_in.is_err() {
            self.link = None;
        }
        let_in
    }

    /// Asks the guest when it next wants to run, if it is to be woken for that. No answer is no
    /// timer: it is no reason not to sleep. A request that wants the machine is not made to wait.
    pub(super) async fn ask_timers(&mut self) {
        if self.state() != State::Hot || !self.policy().wake_timers {
            return;
        }
        let Some(link) = self.link.clone() else {
            return;
        };
        let asked = tokio::select! {
            asked = link.next_timer(TIMERS_LIMIT) => asked,
            () = self.leases.wanted() => return,
        };
        self.row.wake_at = match asked {
            Ok(Some(next)) => {
                let due = Timestamp::from_nanosecond(i128::from(next.unix_nanos)).ok();
                tracing::info!(sandbox = %self.row.id, what = next.what, "its guest's next timer");
                due.and_then(|due| due.checked_sub(NextTimer::MARGIN).ok())
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(
                    sandbox = %self.row.id,
                    error = &error as &dyn std::error::Error,
                    "a guest that is to be woken for its timers does not tell of them"
                );
                None
            }
        };
    }

    async fn sync_guest(&mut self) {
        // A warm machine can't; what it has not written is in its memory.
        if self.state() != State::Hot {
            return;
        }
        let synced = match &self.link {
            Some(link) => link.sync(SYNC_LIMIT).await,
            None => return,
        };
        if let Err(error) = synced {
            tracing::warn!(
                sandbox = %self.row.id,
                error = &error as &dyn std::error::Error,
                "the guest did not write its file systems out before it went to sleep"
            );
        }
    }

    /// Records a state. The record is durable when this returns.
    pub(crate) async fn commit(&mut self, state: State) -> Result<(), Error> {
        if let Some(sync) = self.disk_sync.take() {
            sync.await
                .map_err(Error::internal)?
                .map_err(Error::internal)?;
        }
        let row = self.recorded(state)?;
        let written = row.clone();
        let own = self.volumes.iter().filter(|it| it.at.owned);
        let own: Vec<_> = own.map(|it| it.at.volume.clone()).collect();
        let update = move |txn: &Txn<'_>| {
            txn.sandbox_update(&written)?;
            // What was made for it is whole when it is.
            own.iter().try_for_each(|id| txn.volume_is_ready(id))
        };
        self.change(Durability::Durable, update).await?;
        self.record(row);
        Ok(())
    }

    /// Records a state of which nothing depends but what is shown: it outlives the daemon, and
    /// the host only if something is committed later.
    pub(crate) async fn note(&mut self, state: State) -> Result<(), Error> {
        let row = self.recorded(state)?;
        let written = row.clone();
        let update = move |txn: &Txn<'_>| txn.sandbox_update(&written);
        self.change(Durability::Relaxed, update).await?;
        self.record(row);
        Ok(())
    }

    fn recorded(&self, state: State) -> Result<SandboxRow, Error> {
        let mut row = self.row.clone();
        (row.status, row.thermal) = state.shown();
        match state {
            State::Hot | State::Warm => {
                let record = MachineRecord {
                    process: self.machine()?.process(),
                    boot: Some(self.ctx.boot.clone()),
                    plugged: self.plugged,
                };
                row.machine = Some(serde_json::to_string(&record).map_err(Error::internal)?);
                if state == State::Hot {
                    // A warm one may have stopped by itself.
                    row.reason = None;
                }
                row.stopped_at = None;
            }
            State::Cold | State::Off => {
                row.machine = None;
                row.stopped_at = Some(Timestamp::now());
            }
            State::Creating | State::Failed | State::Destroying => row.machine = None,
        }
        if state == State::Hot {
            row.wake_at = None;
        } else {
            let (_, last_used) = self.leases.usage();
            let unused = clock::now().saturating_duration_since(last_used);
            row.used_at = Timestamp::now().checked_sub(unused).ok();
        }
        Ok(row)
    }

    fn record(&mut self, row: SandboxRow) {
        self.row = row;
        if self.state() == State::Hot {
            self.halted = None;
        }
        self.warm_since = match self.state() {
            State::Warm => self.warm_since.or_else(|| Some(clock::now())),
            _ => None,
        };
    }

    async fn commit_snapshot(&mut self) -> Result<(), Error> {
        let Material::Snapshot(snapshot) = &mut self.material else {
            return Err(no_snapshot());
        };
        snapshot.status = SnapshotStatus::Ready;
        let row = (**snapshot).clone();
        let update = move |txn: &Txn<'_>| txn.snapshot_update(&row);
        self.change(Durability::Durable, update).await
    }

    pub(super) fn machine(
        &self,
    ) -> Result<&std::sync::Arc<dyn bhatti_vmm::machine::Machine>, Error> {
        self.machine
            .as_ref()
            .ok_or_else(|| Error::internal("the sandbox has no machine"))
    }

    pub(super) fn link(&self) -> Result<&Link, Error> {
        self.link
            .as_ref()
            .ok_or_else(|| Error::internal("the sandbox has no agent link"))
    }

    pub(super) fn snapshot(&self) -> Result<&bhatti_store::snapshot::SnapshotRow, Error> {
        match &self.material {
            Material::Snapshot(snapshot) => Ok(snapshot),
            _ => Err(no_snapshot()),
        }
    }
}

/// Sets the clock of a guest that goes on: it has stood still as long as its vCPUs. No reason to
/// fail what was done.
pub(super) async fn set_clock(link: &Link) {
    let set = match unix_nanos() {
        Ok(now) => link.set_clock(now, CLOCK_LIMIT).await.map_err(Error::from),
        Err(error) => Err(error),
    };
    if let Err(error) = set {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "a guest's clock is behind by as long as it stood still"
        );
    }
}

/// The wall clock, in nanoseconds since 1970.
pub(super) fn unix_nanos() -> Result<u64, Error> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(Error::internal)?;
    Ok(now.as_nanos() as u64)
}

fn no_snapshot() -> Error {
    Error::internal("the plan has no checkpoint")
}
