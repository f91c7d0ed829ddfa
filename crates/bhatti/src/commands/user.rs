//! `bhatti user`.

use bhatti_api::idle::EditUser;
use bhatti_api::user::CreateUser;
use bhatti_types::name::UserName;
use clap::{Args, Subcommand};

use super::idle_args::IdleArgs;
use crate::failure::Failure;
use crate::prompt::confirm;
use crate::run::Context;
use crate::table::table;
use crate::values;

/// What to do with users.
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Make a user and print its token, which is not shown again
    Create(CreateArgs),
    /// List users
    #[command(visible_alias = "ls")]
    List,
    /// Change a user's limits, and what its sandboxes do when idle
    Edit(EditArgs),
    /// Delete a user that has no sandboxes and checkpoints left
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
    /// Give a user a new token; the old one is void at once
    RotateKey(RotateKeyArgs),
}

/// Flags of `bhatti user create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name
    #[arg(long, value_parser = values::name::<UserName>)]
    name: UserName,
    /// Most sandboxes at once [default: 5]
    #[arg(long, value_name = "COUNT", value_parser = values::count)]
    max_sandboxes: Option<u32>,
    /// Most vCPUs of one sandbox [default: 4]
    #[arg(long, value_name = "COUNT", value_parser = values::count)]
    max_cpus: Option<u32>,
    /// Most memory of one sandbox in MB [default: 4096]
    #[arg(long, value_name = "MB", value_parser = values::count)]
    max_memory: Option<u32>,
    /// Most checkpoints at once [default: 5]
    #[arg(long, value_name = "COUNT", value_parser = values::count)]
    max_snapshots: Option<u32>,
    /// Most storage of all volumes together in MB [default: 20480]
    #[arg(long, value_name = "MB", value_parser = values::count)]
    max_volume_mb: Option<u32>,
    /// Most images of its own at once [default: 10]
    #[arg(long, value_name = "COUNT", value_parser = values::count)]
    max_images: Option<u32>,
}

/// Flags of `bhatti user edit`.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The user
    #[arg(value_parser = values::name::<UserName>)]
    user: UserName,
    #[command(flatten)]
    idle: IdleArgs,
    /// Most images of its own at once
    #[arg(long, value_name = "COUNT", value_parser = values::count)]
    max_images: Option<u32>,
}

/// Flags of `bhatti user delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The user
    #[arg(value_parser = values::name::<UserName>)]
    user: UserName,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Flags of `bhatti user rotate-key`.
#[derive(Debug, Args)]
pub(crate) struct RotateKeyArgs {
    /// The user
    #[arg(value_parser = values::name::<UserName>)]
    user: UserName,
}

/// Does something with users.
pub(crate) async fn run(command: UserCommand, context: &Context) -> Result<(), Failure> {
    match command {
        UserCommand::Create(args) => create(args, context).await,
        UserCommand::List => list(context).await,
        UserCommand::Edit(args) => edit(args, context).await,
        UserCommand::Delete(args) => delete(args, context).await,
        UserCommand::RotateKey(args) => rotate_key(args, context).await,
    }
}

async fn create(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let new = CreateUser {
        name: args.name.into(),
        max_sandboxes: args.max_sandboxes,
        max_cpus_per_sandbox: args.max_cpus,
        max_memory_mb_per_sandbox: args.max_memory,
        max_snapshots: args.max_snapshots,
        max_volume_mb: args.max_volume_mb,
        max_images: args.max_images,
    };
    let created = context.client().user_create(&new).await?;
    context.ui.show(&created, || {
        format!(
            "user/{} created\nAPI key: {}",
            created.user.name, created.api_key
        )
    })?;
    say_once(context);
    Ok(())
}

async fn list(context: &Context) -> Result<(), Failure> {
    let users = context.client().user_list().await?;
    context.ui.show(&users, || {
        let rows: Vec<_> = users
            .iter()
            .map(|user| {
                vec![
                    user.name.clone(),
                    user.max_sandboxes.to_string(),
                    user.max_cpus_per_sandbox.to_string(),
                    format!("{} MB", user.max_memory_mb_per_sandbox),
                    user.max_snapshots.to_string(),
                    format!("{} MB", user.max_volume_mb),
                    user.max_images.to_string(),
                    user.created_at.clone(),
                ]
            })
            .collect();
        let head = [
            "NAME",
            "SANDBOXES",
            "CPUS",
            "MEMORY",
            "SNAPSHOTS",
            "VOLUMES",
            "IMAGES",
            "CREATED",
        ];
        table(&head, &rows)
    })
}

async fn edit(args: EditArgs, context: &Context) -> Result<(), Failure> {
    let idle = args.idle.fields();
    let edit = EditUser {
        keep_hot: idle.keep_hot,
        idle_pause: idle.idle_pause,
        idle_cold: idle.idle_cold,
        busy_cpu: idle.busy_cpu,
        wake_timers: idle.wake_timers,
        max_images: args.max_images,
    };
    if edit == EditUser::default() {
        return Err(Failure::Usage {
            message: "nothing to change was given".to_owned(),
            hint: Some("see `bhatti user edit --help`".to_owned()),
        });
    }
    let user = context
        .client()
        .user_edit(args.user.as_str(), &edit)
        .await?;
    context
        .ui
        .show(&user, || format!("user/{} changed", user.name))
}

async fn delete(args: DeleteArgs, context: &Context) -> Result<(), Failure> {
    let name = args.user.as_str();
    confirm(&context.ui, args.yes, &format!("delete user {name:?}"))?;
    let status = context.client().user_delete(name).await?;
    context.ui.show(&status, || format!("user/{name} deleted"))
}

async fn rotate_key(args: RotateKeyArgs, context: &Context) -> Result<(), Failure> {
    let rotated = context.client().user_rotate_key(args.user.as_str()).await?;
    context
        .ui
        .show(&rotated, || format!("API key: {}", rotated.api_key))?;
    say_once(context);
    Ok(())
}

fn say_once(context: &Context) {
    context.ui.note("keep it now: it is not shown again");
}
