//! Opening a data directory: repairs what an earlier daemon left half done, and takes up the
//! machines that are still running.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use bhatti_host::files;
use bhatti_host::process::ProcessId;
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::repair::{
    Inventory, REASON_GONE, Repair, SandboxFound, SnapshotFound, plan_repairs,
};
use bhatti_lifecycle::state::State;
use bhatti_store::sandbox::SandboxRow;
use bhatti_store::snapshot::SnapshotStatus;
use bhatti_types::id::{DataDirId, SandboxId};
use bhatti_vmm::machine::{Machine, RunState};

use crate::checkpoint::{self, Depth};
use crate::context::Context;
use crate::error::Error;
use crate::layout::{HALF_MADE, Layout};
use crate::sandbox::actor::Actor;
use crate::sandbox::directory::Directory;
use crate::sandbox::work::Work;

/// Makes the directories, and the data directory's id if it has none yet.
pub(crate) fn prepare(layout: &Layout) -> std::io::Result<DataDirId> {
    files::remove_tree(&layout.scratch())?;
    for dir in [layout.scratch(), layout.sandboxes(), layout.snapshots()] {
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
    for pending in ctx.db(|store| store.journal_pending()).await? {
        tracing::warn!(
            kind = pending.kind,
            subject = pending.subject,
            step = pending.steps.last().map_or("", |step| step.name.as_str()),
            "an earlier daemon was cut off in the middle of this"
        );
    }
    let mut rows: BTreeMap<SandboxId, SandboxRow> = ctx
        .db(|store| store.sandbox_list())
        .await?
        .into_iter()
        .map(|row| (row.id.clone(), row))
        .collect();
    let found = inventory(ctx, &rows).await?;
    let mut adopted: BTreeMap<SandboxId, Arc<dyn Machine>> = BTreeMap::new();
    for repair in plan_repairs(&found) {
        tracing::info!(?repair, "repair");
        apply(ctx, &mut rows, &mut adopted, repair).await?;
    }
    for pending in ctx.db(|store| store.journal_pending()).await? {
        ctx.db(move |store| store.journal_close(&pending.op))
            .await?;
    }
    for (id, row) in rows {
        let machine = adopted.remove(&id);
        let hot = machine.is_some();
        let mut work = Work::new(ctx.clone(), row, machine);
        // Entered in the directory first, so that the sandbox is there from the first request on.
        let actor = Actor::new(
            Work::new(ctx.clone(), work.row.clone(), None),
            directory.clone(),
        );
        ctx.tasks.spawn(async move {
            if hot
                && work.state() == State::Hot
                && let Err(error) = work.greet(PlanKind::Wake).await
            {
                tracing::warn!(
                    sandbox = %work.row.id,
                    error = &error as &dyn std::error::Error,
                    "the agent of a running machine does not answer yet"
                );
            }
            actor.with(work).run().await;
        });
    }
    Ok(())
}

async fn inventory(
    ctx: &Arc<Context>,
    rows: &BTreeMap<SandboxId, SandboxRow>,
) -> Result<Inventory<ProcessId>, Error> {
    let processes = ctx.vmm.find(&ctx.data_dir).await?;
    let snapshots = ctx.db(|store| store.snapshot_list(None)).await?;
    let layout = ctx.layout.clone();
    let states: Vec<_> = rows
        .values()
        .map(|row| (row.id.clone(), State::from_shown(row.status, row.thermal)))
        .collect();
    let files = Context::blocking(move || -> std::io::Result<_> {
        remove_half_made(&layout.snapshots())?;
        let sandboxes = states.into_iter().map(|(id, state)| {
            let cold_image = checkpoint::verify(&layout.cold(&id), Depth::Sizes).is_ok();
            (id, SandboxFound { state, cold_image })
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

async fn apply(
    ctx: &Arc<Context>,
    rows: &mut BTreeMap<SandboxId, SandboxRow>,
    adopted: &mut BTreeMap<SandboxId, Arc<dyn Machine>>,
    repair: Repair<ProcessId>,
) -> Result<(), Error> {
    match repair {
        Repair::EndProcess(process) => Ok(ctx.vmm.end(process).await?),
        Repair::Adopt { sandbox, process } => {
            let Some(row) = rows.get(&sandbox).cloned() else {
                return Ok(());
            };
            match adopt(ctx, &row, process).await {
                Ok(Some(machine)) => {
                    adopted.insert(sandbox, machine);
                    Ok(())
                }
                Ok(None) => mark_off(ctx, rows, &sandbox, REASON_GONE).await,
                Err(error) => {
                    tracing::error!(
                        %sandbox,
                        error = &error as &dyn std::error::Error,
                        "a running machine could not be taken up and is ended"
                    );
                    ctx.vmm.end(process).await?;
                    let reason = "its machine monitor did not answer the new daemon and was \
                                  ended; it boots from its disk at the next start";
                    mark_off(ctx, rows, &sandbox, reason).await
                }
            }
        }
        Repair::MarkOff { sandbox, reason } => mark_off(ctx, rows, &sandbox, reason).await,
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

/// Takes up a machine and puts its vCPUs into the state its record says: an earlier daemon may
/// have been cut off while it held them paused for a checkpoint.
async fn adopt(
    ctx: &Arc<Context>,
    row: &SandboxRow,
    process: ProcessId,
) -> Result<Option<Arc<dyn Machine>>, Error> {
    let dir = ctx.layout.sandbox(&row.id);
    let Some(machine) = ctx.vmm.adopt(&dir, process).await? else {
        return Ok(None);
    };
    if machine.run_state().await? == RunState::Over {
        machine.kill().await?;
        return Ok(None);
    }
    if State::from_shown(row.status, row.thermal) == State::Warm {
        machine.pause().await?;
    } else {
        machine.resume().await?;
    }
    Ok(Some(machine))
}

async fn mark_off(
    ctx: &Arc<Context>,
    rows: &mut BTreeMap<SandboxId, SandboxRow>,
    sandbox: &SandboxId,
    reason: &str,
) -> Result<(), Error> {
    let Some(row) = rows.get_mut(sandbox) else {
        return Ok(());
    };
    (row.status, row.thermal) = State::Off.shown();
    row.reason = Some(reason.to_owned());
    row.machine = None;
    row.stopped_at = Some(jiff::Timestamp::now());
    let written = row.clone();
    ctx.db(move |store| store.sandbox_update(&written)).await
}

async fn remove(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> Result<(), Error> {
    Context::blocking(work).await?.map_err(Error::internal)
}

/// The ids that the directories in a directory are named by; other names are not ours.
fn directories<T: FromStr>(dir: &Path) -> std::io::Result<Vec<T>> {
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

fn remove_half_made(dir: &Path) -> std::io::Result<()> {
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(HALF_MADE) {
            files::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}
