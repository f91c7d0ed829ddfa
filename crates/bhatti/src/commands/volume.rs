//! `bhatti volume`.

use bhatti_api::volume::{AttachVolume, CreateVolume, Volume};
use bhatti_types::name::{SandboxName, VolumeName};
use clap::{Args, Subcommand};

use super::backup::{self, BackupArgs, BackupDeleteArgs, RestoreArgs};
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::prompt::confirm;
use crate::run::Context;
use crate::table::table;
use crate::values::{self, VolumeFlag};

/// What to do with volumes.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Make an empty volume
    Create(CreateArgs),
    /// List volumes
    #[command(visible_alias = "ls")]
    List,
    /// Delete a volume that no sandbox has; its backups stay
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
    /// Make a volume larger, also while a sandbox writes to it
    Resize(ResizeArgs),
    /// Make a volume that holds what another holds now
    #[command(visible_alias = "snapshot")]
    Clone(CloneArgs),
    /// Give a sandbox a volume, at once if it runs
    Attach(AttachArgs),
    /// Take a volume from a sandbox
    Detach(DetachArgs),
    /// Back a volume up as it is at one moment
    Backup(BackupArgs),
    /// List the backups of a volume
    BackupList(BackupArgs),
    /// Put a volume that no sandbox has back to what it was
    Restore(RestoreArgs),
    /// Delete a backup
    BackupDelete(BackupDeleteArgs),
}

/// Flags of `bhatti volume create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name
    #[arg(value_parser = values::name::<VolumeName>, required_unless_present = "named")]
    name: Option<VolumeName>,
    /// Its name, as the original takes it
    #[arg(
        long = "name",
        id = "named",
        value_name = "NAME",
        hide = true,
        conflicts_with = "name",
        value_parser = values::name::<VolumeName>
    )]
    named: Option<VolumeName>,
    /// Its size in MB
    #[arg(long, value_name = "MB", value_parser = values::volume_size)]
    size: u64,
}

/// Flags of `bhatti volume delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The volume
    #[arg(value_parser = values::name::<VolumeName>)]
    volume: VolumeName,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Flags of `bhatti volume resize`.
#[derive(Debug, Args)]
pub(crate) struct ResizeArgs {
    /// The volume
    #[arg(value_parser = values::name::<VolumeName>)]
    volume: VolumeName,
    /// Its new size in MB, not less than the one it has
    #[arg(long, value_name = "MB", value_parser = values::volume_size)]
    size: u64,
}

/// Flags of `bhatti volume clone`.
#[derive(Debug, Args)]
pub(crate) struct CloneArgs {
    /// The volume
    #[arg(value_parser = values::name::<VolumeName>)]
    volume: VolumeName,
    /// Name of the new volume
    #[arg(long, value_parser = values::name::<VolumeName>)]
    name: VolumeName,
}

/// Flags of `bhatti volume attach`.
#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// The volume and where it is mounted; `:ro` to read it alone
    #[arg(value_name = "NAME:PATH[:ro]", value_parser = values::volume)]
    volume: VolumeFlag,
}

/// Flags of `bhatti volume detach`.
#[derive(Debug, Args)]
pub(crate) struct DetachArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// The volume
    #[arg(value_parser = values::name::<VolumeName>)]
    volume: VolumeName,
}

/// Does something with volumes.
pub(crate) async fn run(command: VolumeCommand, context: &Context) -> Result<(), Failure> {
    match command {
        VolumeCommand::Create(args) => create(args, context).await,
        VolumeCommand::List => list(context).await,
        VolumeCommand::Delete(args) => delete(args, context).await,
        VolumeCommand::Resize(args) => resize(args, context).await,
        VolumeCommand::Clone(args) => clone(args, context).await,
        VolumeCommand::Attach(args) => attach(args, context).await,
        VolumeCommand::Detach(args) => detach(args, context).await,
        VolumeCommand::Backup(args) => backup::create(args, context).await,
        VolumeCommand::BackupList(args) => backup::list(args, context).await,
        VolumeCommand::Restore(args) => backup::restore(args, context).await,
        VolumeCommand::BackupDelete(args) => backup::delete(args, context).await,
    }
}

async fn create(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let name = args.name.or(args.named).map(String::from);
    let new = CreateVolume {
        name: name.unwrap_or_default(),
        size_mb: args.size,
    };
    let client = context.client();
    let what = format!("creating volume {}", new.name);
    let volume = with_progress(&context.ui, what, client.volume_create(&new)).await?;
    context.ui.show(&volume, || {
        format!("volume/{} created ({} MB)", volume.name, volume.size_mb)
    })
}

async fn list(context: &Context) -> Result<(), Failure> {
    let volumes = context.client().volume_list().await?;
    context.ui.show(&volumes, || {
        let rows: Vec<_> = volumes
            .iter()
            .map(|volume| {
                vec![
                    volume.name.clone(),
                    format!("{} MB", volume.size_mb),
                    attached(volume),
                    values::on_disk(volume.disk_own_bytes),
                    values::on_disk(volume.disk_shared_bytes),
                    volume.created_at.clone(),
                ]
            })
            .collect();
        let head = ["NAME", "SIZE", "ATTACHED", "OWN", "SHARED", "CREATED"];
        table(&head, &rows)
    })
}

/// Who has it, on one line.
fn attached(volume: &Volume) -> String {
    if volume.attachments.is_empty() {
        return "-".to_owned();
    }
    let holders: Vec<_> = volume
        .attachments
        .iter()
        .map(|it| {
            let sandbox = it.sandbox.as_ref().unwrap_or(&it.sandbox_id);
            let how = if it.read_only { ":ro" } else { "" };
            format!("{sandbox}:{}{how}", it.mount)
        })
        .collect();
    holders.join(",")
}

async fn delete(args: DeleteArgs, context: &Context) -> Result<(), Failure> {
    let name = args.volume.as_str();
    let question = format!("delete volume {name:?} and all that is in it");
    confirm(&context.ui, args.yes, &question)?;
    let client = context.client();
    let work = client.volume_delete(name);
    let status = with_progress(&context.ui, format!("deleting volume {name}"), work).await?;
    context
        .ui
        .show(&status, || format!("volume/{name} deleted"))
}

async fn resize(args: ResizeArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let work = client.volume_resize(args.volume.as_str(), args.size);
    let what = format!("resizing volume {}", args.volume);
    let volume = with_progress(&context.ui, what, work).await?;
    context.ui.show(&volume, || {
        format!("volume/{} resized ({} MB)", volume.name, volume.size_mb)
    })
}

async fn clone(args: CloneArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let work = client.volume_clone(args.volume.as_str(), args.name.as_str());
    let what = format!("cloning volume {}", args.volume);
    let volume = with_progress(&context.ui, what, work).await?;
    context.ui.show(&volume, || {
        format!("volume/{} cloned from {}", volume.name, args.volume)
    })
}

async fn attach(args: AttachArgs, context: &Context) -> Result<(), Failure> {
    let attach = AttachVolume {
        sandbox: args.sandbox.into(),
        mount: args.volume.mount.into(),
        read_only: args.volume.read_only,
    };
    let name = args.volume.name;
    let client = context.client();
    let work = client.volume_attach(name.as_str(), &attach);
    let what = format!("attaching volume {name}");
    let sandbox = with_progress(&context.ui, what, work).await?;
    context.ui.show(&sandbox, || {
        format!("volume/{name} attached to sandbox/{}", sandbox.name)
    })
}

async fn detach(args: DetachArgs, context: &Context) -> Result<(), Failure> {
    let name = args.volume;
    let client = context.client();
    let work = client.volume_detach(name.as_str(), args.sandbox.as_str());
    let what = format!("detaching volume {name}");
    let sandbox = with_progress(&context.ui, what, work).await?;
    context.ui.show(&sandbox, || {
        format!("volume/{name} detached from sandbox/{}", sandbox.name)
    })
}
