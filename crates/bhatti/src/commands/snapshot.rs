//! `bhatti snapshot`.

use bhatti_api::snapshot::{CreateSnapshot, ResumeSnapshot};
use bhatti_types::name::{SandboxName, SnapshotName};
use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::prompt::confirm;
use crate::run::Context;
use crate::table::table;
use crate::values;

/// What to do with checkpoints.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Capture a running sandbox whole; it goes on
    Create(CreateArgs),
    /// List checkpoints
    #[command(visible_alias = "ls")]
    List,
    /// Make a new sandbox that goes on from a checkpoint
    Resume(ResumeArgs),
    /// Delete a checkpoint; sandboxes resumed from it go on
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
}

/// Flags of `bhatti snapshot create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// Name of the checkpoint
    #[arg(long, value_parser = values::name::<SnapshotName>)]
    name: SnapshotName,
}

/// Flags of `bhatti snapshot resume`.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The checkpoint
    #[arg(value_parser = values::name::<SnapshotName>)]
    snapshot: SnapshotName,
    /// Name of the new sandbox; one is made up if there is none
    #[arg(long, value_parser = values::name::<SandboxName>)]
    name: Option<SandboxName>,
}

/// Flags of `bhatti snapshot delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The checkpoint
    #[arg(value_parser = values::name::<SnapshotName>)]
    snapshot: SnapshotName,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Does something with checkpoints.
pub(crate) async fn run(command: SnapshotCommand, context: &Context) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Create(args) => create(args, context).await,
        SnapshotCommand::List => list(context).await,
        SnapshotCommand::Resume(args) => resume(args, context).await,
        SnapshotCommand::Delete(args) => delete(args, context).await,
    }
}

async fn create(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let new = CreateSnapshot {
        name: args.name.into(),
    };
    let work = client.snapshot_create(args.sandbox.as_str(), &new);
    let what = format!("capturing sandbox {}", args.sandbox);
    let snapshot = with_progress(&context.ui, what, work).await?;
    context.ui.show(&snapshot, || {
        let tick = context.ui.tick();
        format!(
            "{tick} checkpoint {:?} created ({}MB)",
            snapshot.name, snapshot.size_mb
        )
    })
}

async fn list(context: &Context) -> Result<(), Failure> {
    let snapshots = context.client().snapshot_list().await?;
    context.ui.show(&snapshots, || {
        let rows: Vec<_> = snapshots
            .iter()
            .map(|snapshot| {
                vec![
                    snapshot.name.clone(),
                    snapshot.source_sandbox.clone(),
                    format!("{} MB", snapshot.size_mb),
                    values::on_disk(snapshot.disk_own_bytes),
                    values::on_disk(snapshot.disk_shared_bytes),
                    snapshot.created_at.clone(),
                ]
            })
            .collect();
        let head = ["NAME", "SANDBOX", "MEMORY", "OWN", "SHARED", "CREATED"];
        table(&head, &rows)
    })
}

async fn resume(args: ResumeArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let named = args.name.is_some();
    let resume = ResumeSnapshot {
        name: args.name.map(String::from),
    };
    let work = client.snapshot_resume(args.snapshot.as_str(), &resume);
    let what = format!("resuming checkpoint {}", args.snapshot);
    let sandbox = with_progress(&context.ui, what, work).await?;
    context.ui.show(&sandbox, || {
        let tick = context.ui.tick();
        if named {
            format!("{tick} restored, state intact")
        } else {
            format!(
                "{tick} restored, state intact\nsandbox/{} created",
                sandbox.name
            )
        }
    })
}

async fn delete(args: DeleteArgs, context: &Context) -> Result<(), Failure> {
    let name = args.snapshot.as_str();
    confirm(
        &context.ui,
        args.yes,
        &format!("delete checkpoint {name:?}"),
    )?;
    let client = context.client();
    let work = client.snapshot_delete(name);
    let status = with_progress(&context.ui, format!("deleting checkpoint {name}"), work).await?;
    context
        .ui
        .show(&status, || format!("snapshot/{name} deleted"))
}
