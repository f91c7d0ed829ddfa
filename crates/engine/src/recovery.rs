//! Opening a data directory: repairs what an earlier daemon left half done, and takes up the
//! machines that are still running.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use bhatti_host::files;
use bhatti_host::process::ProcessId;
use bhatti_lifecycle::repair::{
    ColdFound, Inventory, REASON_GONE, Repair, SandboxFound, SnapshotFound, plan_repairs,
};
use bhatti_lifecycle::state::State;
use bhatti_store::attachment::AttachedVolume;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::SnapshotStatus;
use bhatti_store::store::Store;
use bhatti_types::id::{DataDirId, SandboxId};
use bhatti_vmm::machine::{Machine, RunState};

use crate::checkpoint::{self, Depth, ImageError};
use crate::context::Context;
use crate::error::Error;
use crate::layout::{HALF_MADE, Layout};
use crate::sandbox::actor::Actor;
use crate::sandbox::directory::Directory;
use crate::sandbox::swap;
use crate::sandbox::work::{MachineRecord, Work};

/// Makes the directories, and the data directory's id if it has none yet.
pub(crate) fn prepare(layout: &Layout) -> std::io::Result<DataDirId> {
    files::remove_tree(&layout.scratch())?;
    files::remove_tree(&layout.forks())?;
    for dir in [
        layout.scratch(),
        layout.sandboxes(),
        layout.snapshots(),
        layout.templates(),
        layout.volumes(),
    ] {
        fs_err::create_dir_all(dir)?;
    }
    match files::read_bounded(&layout.id(), 64) {
        Ok(bytes) => String::from_utf8_lossy(&bytes)
            .trim()
            .parse()
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let id = DataDirId::random();
            files::write_durable(&layout.id(), format!("{id}\n").as_bytes())?;
            Ok(id)
        }
        Err(error) => Err(error),
    }
}

/// Repairs the data directory and starts the task of every sandbox.
pub(crate) async fn recover(ctx: &Arc<Context>, directory: &Arc<Directory>) -> Result<(), Error> {
    for pending in ctx.db(Store::journal_pending).await? {
        tracing::warn!(
            kind = pending.kind,
            subject = pending.subject,
            step = pending.steps.last().map_or("", |step| step.name.as_str()),
            "an earlier daemon was cut off in the middle of this"
        );
    }
    let mut rows: BTreeMap<SandboxId, SandboxRow> = ctx
        .db(Store::sandbox_list)
        .await?
        .into_iter()
        .map(|row| (row.id.clone(), row))
        .collect();
    let found = inventory(ctx, &rows).await?;
    let mut adoptions = Vec::new();
    for repair in plan_repairs(&found) {
        tracing::info!(?repair, "repair");
        if let Repair::Adopt { sandbox, process } = repair {
            if let Some(row) = rows.get(&sandbox).cloned() {
                adoptions.push(adopt(ctx, row, process));
            }
        } else if let Err(error) = apply(ctx, &mut rows, repair).await {
            // The others are no worse for it, and this one is planned again at the next start.
            tracing::error!(error = &error as &dyn std::error::Error, "a repair failed");
        }
    }
    // Side by side: one that is slow to answer holds up nobody but the start.
    let adopted = futures::future::join_all(adoptions).await;
    let mut machines: BTreeMap<SandboxId, Arc<dyn Machine>> = BTreeMap::new();
    for adoption in adopted {
        match adoption.result {
            Ok(Some(machine)) => {
                machines.insert(adoption.sandbox.clone(), machine);
                set_state(ctx, &mut rows, &adoption.sandbox, adoption.state, None).await?;
            }
            Ok(None) => {
                let reason = Some(REASON_GONE);
                set_state(ctx, &mut rows, &adoption.sandbox, State::Off, reason).await?;
            }
            Err(error) => {
                tracing::error!(
                    sandbox = %adoption.sandbox,
                    error = &error as &dyn std::error::Error,
                    "a running machine did not answer and is left as it is"
                );
                let reason = Some(REASON_SILENT);
                set_state(ctx, &mut rows, &adoption.sandbox, State::Failed, reason).await?;
            }
        }
    }
    for pending in ctx.db(Store::journal_pending).await? {
        ctx.db(move |store| store.journal_close(&pending.op))
            .await?;
    }
    crate::network::take_up(ctx, &rows).await;
    let mut volumes: BTreeMap<SandboxId, Vec<AttachedVolume>> = BTreeMap::new();
    for attached in ctx.db(Store::attachment_list).await? {
        let of_it = volumes.entry(attached.at.sandbox.clone()).or_default();
        of_it.push(attached);
    }
    for (id, row) in rows {
        let machine = machines.remove(&id);
        let mut work = Work::new(ctx.clone(), row, machine);
        work.volumes = volumes.remove(&id).unwrap_or_default();
        work.volumes.sort_by_key(|it| it.at.slot);
        let mut actor = Actor::new(work, directory.clone());
        actor.enter();
        actor.spawn(Actor::run);
    }
    Ok(())
}

/// Told of a machine whose monitor did not answer.
const REASON_SILENT: &str = "its machine monitor did not answer the new daemon and was left as it \
    is; a restart of the daemon tries again, `bhatti start --force` ends it and boots from the disk";

async fn inventory(
    ctx: &Arc<Context>,
    rows: &BTreeMap<SandboxId, SandboxRow>,
) -> Result<Inventory<ProcessId>, Error> {
    let processes = ctx.vmm.find(&ctx.data_dir, ctx.layout.root()).await?;
    let snapshots = ctx.db(|store| store.snapshot_list(None)).await?;
    let layout = ctx.layout.clone();
    let recorded: Vec<_> = rows
        .values()
        .map(|row| {
            let state = State::from_shown(row.status, row.thermal);
            let machine = row
                .machine
                .as_deref()
                .map(serde_json::from_str::<MachineRecord>);
            let machine = machine.and_then(Result::ok);
            let before_boot = machine
                .as_ref()
                .and_then(|record| record.boot.as_ref())
                .is_some_and(|boot| *boot != ctx.boot);
            let process = machine.map(|record| record.process);
            (
                row.id.clone(),
                state,
                process.filter(|_| !before_boot),
                before_boot,
            )
        })
        .collect();
    let files = Context::blocking(move || -> std::io::Result<_> {
        remove_half_made(&layout.snapshots())?;
        let sandboxes = recorded
            .into_iter()
            .map(|(id, state, process, before_boot)| {
                // Once it has begun, a machine's disks are exchanged to the last one.
                let aside = layout.aside(&id);
                let finished = swap::finish(layout.storage(), &aside);
                if let Err(error) = finished.and_then(|()| files::remove_tree(&aside)) {
                    tracing::error!(sandbox = %id, %error, "files of a rollback were left");
                }
                let cold = cold_found(&layout.cold(&id));
                (
                    id,
                    SandboxFound {
                        state,
                        process,
                        cold,
                        before_boot,
                    },
                )
            });
        Ok((
            sandboxes.collect::<BTreeMap<_, _>>(),
            directories(&layout.sandboxes())?,
            directories(&layout.snapshots())?,
        ))
    })
    .await?;
    let (sandboxes, sandbox_directories, snapshot_directories) = files.map_err(Error::internal)?;
    Ok(Inventory {
        sandboxes,
        processes: processes
            .into_iter()
            .map(|found| (found.sandbox, found.process))
            .collect(),
        sandbox_directories,
        snapshots: snapshots
            .into_iter()
            .map(|row| {
                (
                    row.id,
                    SnapshotFound {
                        ready: row.status == SnapshotStatus::Ready,
                    },
                )
            })
            .collect(),
        snapshot_directories,
    })
}

/// What is known of a cold image. Only what is certain is said: an image that this daemon can't
/// read is not deleted.
fn cold_found(dir: &Path) -> ColdFound {
    if matches!(dir.try_exists(), Ok(false)) {
        return ColdFound::Missing;
    }
    match checkpoint::verify(dir, Depth::Sizes) {
        Err(ImageError::Manifest | ImageError::File { .. }) => ColdFound::Damaged,
        Ok(_) | Err(ImageError::Io { .. } | ImageError::TooNew { .. }) => ColdFound::Kept,
    }
}

async fn apply(
    ctx: &Arc<Context>,
    rows: &mut BTreeMap<SandboxId, SandboxRow>,
    repair: Repair<ProcessId>,
) -> Result<(), Error> {
    match repair {
        Repair::EndProcess(process) => Ok(ctx.vmm.end(process).await?),
        // Done beside each other, by the caller.
        Repair::Adopt { .. } => Ok(()),
        Repair::MarkOff { sandbox, reason } => {
            set_state(ctx, rows, &sandbox, State::Off, Some(reason)).await
        }
        Repair::MarkFailed { sandbox, reason } => {
            set_state(ctx, rows, &sandbox, State::Failed, Some(reason)).await
        }
        Repair::RemoveCold(sandbox) => {
            let (whole, half) = (ctx.layout.cold(&sandbox), ctx.layout.cold_half(&sandbox));
            remove(move || files::remove_tree(&whole).and_then(|()| files::remove_tree(&half)))
                .await
        }
        Repair::RemoveDirectory(sandbox) => {
            let dir = ctx.layout.sandbox(&sandbox);
            remove(move || files::remove_tree(&dir)).await
        }
        Repair::Forget(sandbox) => {
            rows.remove(&sandbox);
            ctx.db(move |store| store.sandbox_delete(&sandbox)).await
        }
        Repair::RemoveSnapshotDirectory(id) => crate::sandbox::remove_snapshot(ctx, id).await,
        Repair::ForgetSnapshot(id) => ctx.db(move |store| store.snapshot_delete(&id)).await,
    }
}

/// How an adoption went.
struct Adoption {
    sandbox: SandboxId,
    /// The state it is in if it went well.
    state: State,
    result: Result<Option<Arc<dyn Machine>>, Error>,
}

/// Takes up a machine and puts its vCPUs into the state its record says: an earlier daemon may
/// have been cut off while it held them paused for a checkpoint.
async fn adopt(ctx: &Arc<Context>, row: SandboxRow, process: ProcessId) -> Adoption {
    let state = match State::from_shown(row.status, row.thermal) {
        State::Warm => State::Warm,
        _ => State::Hot,
    };
    let result = async {
        let dir = ctx.layout.sandbox(&row.id);
        let Some(machine) = ctx.vmm.adopt(&dir, process).await? else {
            return Ok(None);
        };
        if machine.run_state().await? == RunState::Over {
            machine.kill().await?;
            return Ok(None);
        }
        if state == State::Warm {
            machine.pause().await?;
        } else {
            machine.resume().await?;
        }
        Ok(Some(machine))
    };
    Adoption {
        state,
        result: result.await,
        sandbox: row.id,
    }
}

/// Records a state. The process stays recorded: a failed sandbox's may still be there.
async fn set_state(
    ctx: &Arc<Context>,
    rows: &mut BTreeMap<SandboxId, SandboxRow>,
    sandbox: &SandboxId,
    state: State,
    reason: Option<&str>,
) -> Result<(), Error> {
    let Some(row) = rows.get_mut(sandbox) else {
        return Ok(());
    };
    if State::from_shown(row.status, row.thermal) == state && reason.is_none() {
        return Ok(());
    }
    (row.status, row.thermal) = state.shown();
    row.reason = reason.map(str::to_owned);
    if state == State::Off {
        row.machine = None;
        row.stopped_at = Some(jiff::Timestamp::now());
    }
    let written = row.clone();
    ctx.db(move |store| store.sandbox_update(&written)).await
}

async fn remove(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<(), Error> {
    Context::blocking(work).await?.map_err(Error::internal)
}

/// The ids that the directories in a directory are named by; other names are not ours.
pub(crate) fn directories<T: FromStr>(dir: &Path) -> std::io::Result<Vec<T>> {
    let mut ids = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        if let Some(id) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            ids.push(id);
        }
    }
    Ok(ids)
}

pub(crate) fn remove_half_made(dir: &Path) -> std::io::Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(HALF_MADE) {
            files::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}
