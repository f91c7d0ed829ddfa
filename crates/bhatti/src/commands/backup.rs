//! `bhatti volume backup` and its like.

use bhatti_types::id::BackupId;
use bhatti_types::name::VolumeName;
use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::prompt::confirm;
use crate::run::Context;
use crate::table::table;
use crate::values;

/// Where backups are.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum To {
    /// S3-compatible storage
    S3,
    /// A directory
    Directory,
}

/// The flag for it.
#[derive(Debug, Args)]
pub(crate) struct Where {
    /// Where the backup is [default: s3 if the daemon has it, else directory]
    #[arg(long, value_name = "TARGET")]
    to: Option<To>,
}

impl Where {
    fn word(&self) -> Option<&'static str> {
        self.to.map(|to| match to {
            To::S3 => "s3",
            To::Directory => "directory",
        })
    }
}

/// Flags of `bhatti volume backup` and `bhatti volume backup-list`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// The volume
    #[arg(value_parser = values::name::<VolumeName>)]
    volume: VolumeName,
    #[command(flatten)]
    at: Where,
}

/// Flags of `bhatti volume restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The volume; it is made if there is none of that name
    #[arg(value_parser = values::name::<VolumeName>)]
    volume: VolumeName,
    /// The backup, as `bhatti volume backup-list` shows it
    #[arg(long, value_name = "ID", value_parser = values::name::<BackupId>)]
    backup_id: BackupId,
    #[command(flatten)]
    at: Where,
}

/// Flags of `bhatti volume backup-delete`.
#[derive(Debug, Args)]
pub(crate) struct BackupDeleteArgs {
    /// The volume
    #[arg(value_parser = values::name::<VolumeName>)]
    volume: VolumeName,
    /// The backup
    #[arg(value_name = "ID", value_parser = values::name::<BackupId>)]
    backup: BackupId,
    #[command(flatten)]
    at: Where,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) async fn create(args: BackupArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let name = args.volume;
    let work = client.volume_backup(name.as_str(), args.at.word());
    let made = with_progress(&context.ui, format!("backing up volume {name}"), work).await?;
    context.ui.show(&made, || {
        let sent = values::on_disk(Some(made.sent_bytes));
        format!("volume/{name} backed up as {} ({sent} sent)", made.id)
    })
}

pub(super) async fn list(args: BackupArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let all = client
        .volume_backups(args.volume.as_str(), args.at.word())
        .await?;
    context.ui.show(&all, || {
        let rows: Vec<_> = all
            .iter()
            .map(|backup| {
                vec![
                    backup.id.clone(),
                    backup.target.clone(),
                    values::on_disk(Some(backup.size_bytes)),
                    values::on_disk(Some(backup.data_bytes)),
                    values::on_disk(Some(backup.sent_bytes)),
                    backup.created_at.clone(),
                ]
            })
            .collect();
        table(&["ID", "TARGET", "SIZE", "DATA", "SENT", "CREATED"], &rows)
    })
}

pub(super) async fn restore(args: RestoreArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let (name, id) = (args.volume, args.backup_id);
    let work = client.volume_restore(name.as_str(), id.as_str(), args.at.word());
    let volume = with_progress(&context.ui, format!("restoring volume {name}"), work).await?;
    context
        .ui
        .show(&volume, || format!("volume/{name} restored from {id}"))
}

pub(super) async fn delete(args: BackupDeleteArgs, context: &Context) -> Result<(), Failure> {
    let (name, id) = (args.volume, args.backup);
    let question = format!("delete backup {id} of volume {name}");
    confirm(&context.ui, args.yes, &question)?;
    let client = context.client();
    let work = client.volume_backup_delete(name.as_str(), id.as_str(), args.at.word());
    let status = with_progress(&context.ui, format!("deleting backup {id}"), work).await?;
    context.ui.show(&status, || format!("backup/{id} deleted"))
}
