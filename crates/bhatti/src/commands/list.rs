//! `bhatti list`.

use bhatti_api::sandbox::{Sandbox, SandboxLine};
use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::output;
use crate::run::Context;
use crate::table::table;
use crate::values;

/// Flags of `bhatti list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How much to show
    #[arg(short, long, value_name = "FORM", value_enum)]
    output: Option<Form>,
    /// Only sandboxes with this label; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
}

/// How much to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// More columns
    Wide,
}

/// Lists sandboxes.
pub(crate) async fn run(args: ListArgs, context: &Context) -> Result<(), Failure> {
    // Checked here for the message; sent as given.
    values::labels(&args.label)?;
    let client = context.client();
    if args.output.is_none() && !context.ui.json() {
        let lines = client.sandbox_lines(&args.label).await?;
        return output::write(narrow(&lines).as_bytes());
    }
    let sandboxes = match args.output {
        Some(Form::Wide) => client.sandbox_list_with_usage(&args.label).await?,
        None => client.sandbox_list(&args.label).await?,
    };
    context.ui.show(&sandboxes, || wide(&sandboxes))
}

fn narrow(sandboxes: &[SandboxLine]) -> String {
    let rows: Vec<_> = sandboxes
        .iter()
        .map(|sandbox| {
            let url = sandbox.urls.join(",");
            vec![
                sandbox.name.clone(),
                sandbox.status.clone(),
                sandbox.thermal.clone(),
                url,
            ]
        })
        .collect();
    table(&["NAME", "STATUS", "THERMAL", "URL"], &rows)
}

fn wide(sandboxes: &[Sandbox]) -> String {
    // Columns follow the empty ones here, so those get a mark.
    let marked = |text: String| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text
        }
    };
    let rows: Vec<_> = sandboxes
        .iter()
        .map(|sandbox| {
            vec![
                sandbox.name.clone(),
                sandbox.status.clone(),
                sandbox.thermal.clone(),
                marked(sandbox.urls.join(",")),
                sandbox.cpus.to_string(),
                format!("{} MB", sandbox.memory_mb),
                format!("{} MB", sandbox.disk_size_mb),
                values::on_disk(sandbox.disk_own_bytes),
                values::on_disk(sandbox.disk_shared_bytes),
                sandbox.image.clone(),
                marked(values::joined(&sandbox.labels)),
            ]
        })
        .collect();
    let head = [
        "NAME", "STATUS", "THERMAL", "URL", "CPUS", "MEMORY", "DISK", "OWN", "SHARED", "IMAGE",
        "LABELS",
    ];
    table(&head, &rows)
}
