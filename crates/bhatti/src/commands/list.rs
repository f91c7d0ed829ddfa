//! `bhatti list`.

use bhatti_api::sandbox::Sandbox;
use bhatti_client::lines::SandboxLine;
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
        return output::write(narrow(&lines.read()?).as_bytes());
    }
    let sandboxes = match args.output {
        Some(Form::Wide) => client.sandbox_list_with_usage(&args.label).await?,
        None => client.sandbox_list(&args.label).await?,
    };
    context.ui.show(&sandboxes, || wide(&sandboxes))
}

fn narrow(sandboxes: &[SandboxLine<'_>]) -> String {
    let urls: Vec<_> = sandboxes.iter().map(|one| one.urls.join(",")).collect();
    // A list may be long: nothing is copied for it.
    let rows: Vec<_> = sandboxes
        .iter()
        .zip(&urls)
        .map(|(one, url)| line(one, url))
        .collect();
    table(&["NAME", "STATUS", "THERMAL", "URL"], &rows)
}

fn line<'a>(sandbox: &'a SandboxLine<'_>, url: &'a str) -> [&'a str; 4] {
    [&sandbox.name, &sandbox.status, &sandbox.thermal, url]
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
                marked(sandbox.ip.clone()),
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
        "NAME", "STATUS", "THERMAL", "IP", "URL", "CPUS", "MEMORY", "DISK", "OWN", "SHARED",
        "IMAGE", "LABELS",
    ];
    table(&head, &rows)
}
