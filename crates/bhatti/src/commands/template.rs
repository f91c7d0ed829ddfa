//! `bhatti template`.

use bhatti_types::id::TemplateId;
use bhatti_types::invalid::Invalid;
use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::prompt::confirm;
use crate::run::Context;
use crate::table::table;
use crate::values;

/// What to do with templates.
#[derive(Debug, Subcommand)]
pub(crate) enum TemplateCommand {
    /// List templates, the one of the latest use first
    #[command(visible_alias = "ls")]
    List,
    /// Delete a template; sandboxes made from it go on
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
}

/// Flags of `bhatti template delete`.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The template
    #[arg(value_name = "ID", value_parser = id)]
    template: TemplateId,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

fn id(text: &str) -> Result<TemplateId, String> {
    text.parse().map_err(|error: Invalid| error.reason)
}

/// Does something with templates.
pub(crate) async fn run(command: TemplateCommand, context: &Context) -> Result<(), Failure> {
    match command {
        TemplateCommand::List => list(context).await,
        TemplateCommand::Delete(args) => delete(args, context).await,
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let templates = context.client().template_list().await?;
    context.ui.show(&templates, || {
        let rows: Vec<_> = templates
            .iter()
            .map(|template| {
                let never = || "never".to_owned();
                vec![
                    template.id.clone(),
                    template.image.clone(),
                    template.cpus.to_string(),
                    format!("{} MB", template.memory_mb),
                    format!("{} MB", template.disk_size_mb),
                    template.kit.clone(),
                    template.uses.to_string(),
                    template.last_used_at.clone().unwrap_or_else(never),
                    values::on_disk(template.disk_own_bytes),
                    values::on_disk(template.disk_shared_bytes),
                    template.pool.to_string(),
                ]
            })
            .collect();
        let head = [
            "ID",
            "IMAGE",
            "CPUS",
            "MEMORY",
            "DISK",
            "KIT",
            "USES",
            "LAST USED",
            "OWN",
            "SHARED",
            "POOL",
        ];
        table(&head, &rows)
    })
}

async fn delete(args: DeleteArgs, context: &Context) -> Result<(), Failure> {
    let id = args.template.as_str();
    confirm(&context.ui, args.yes, &format!("delete template {id}"))?;
    let client = context.client();
    let work = client.template_delete(id);
    let status = with_progress(&context.ui, format!("deleting template {id}"), work).await?;
    context
        .ui
        .show(&status, || format!("template/{id} deleted"))
}
