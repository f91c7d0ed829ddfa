//! `bhatti inspect`.

use bhatti_api::sandbox::Sandbox;
use bhatti_types::name::SandboxName;
use clap::Args;

use crate::failure::Failure;
use crate::run::Context;
use crate::table::details;
use crate::values;

/// Flags of `bhatti inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
}

/// Shows one sandbox.
pub(crate) async fn run(args: InspectArgs, context: &Context) -> Result<(), Failure> {
    let sandbox = context.client().sandbox_get(args.sandbox.as_str()).await?;
    context.ui.show(&sandbox, || people(&sandbox))
}

fn people(sandbox: &Sandbox) -> String {
    let engine = match &sandbox.accelerator {
        Some(accelerator) => format!("{} ({accelerator})", sandbox.engine),
        None => sandbox.engine.clone(),
    };
    let mut lines = vec![
        ("Name", sandbox.name.clone()),
        ("ID", sandbox.id.clone()),
        ("Status", sandbox.status.clone()),
    ];
    lines.extend(sandbox.reason.clone().map(|reason| ("Reason", reason)));
    lines.push(("Thermal", sandbox.thermal.clone()));
    lines.push(("Image", sandbox.image.clone()));
    lines.extend(
        sandbox
            .resumed_from
            .clone()
            .map(|name| ("Resumed from", name)),
    );
    lines.extend(sandbox.forked_from.clone().map(|id| ("Forked from", id)));
    lines.push(("Created", sandbox.created_at.clone()));
    lines.extend(sandbox.stopped_at.clone().map(|at| ("Stopped", at)));
    lines.push(("CPUs", sandbox.cpus.to_string()));
    lines.push(("Memory", format!("{} MB", sandbox.memory_mb)));
    lines.push(("Disk", format!("{} MB", sandbox.disk_size_mb)));
    lines.push(("Engine", engine));
    if !sandbox.ip.is_empty() {
        lines.push(("IP", sandbox.ip.clone()));
    }
    lines.extend(sandbox.user.clone().map(|user| ("User", user)));
    if !sandbox.labels.is_empty() {
        lines.push(("Labels", values::joined(&sandbox.labels)));
    }
    lines.extend(sandbox.urls.iter().map(|url| ("URL", url.clone())));
    details(&lines)
}
