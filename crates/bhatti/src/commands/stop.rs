//! `bhatti stop`.

use bhatti_types::name::SandboxName;
use clap::Args;

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti stop`.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
}

/// Puts a sandbox to disk.
pub(crate) async fn run(args: StopArgs, context: &Context) -> Result<(), Failure> {
    let name = args.sandbox.as_str();
    let client = context.client();
    let work = client.sandbox_stop(name);
    let sandbox = with_progress(&context.ui, format!("stopping sandbox {name}"), work).await?;
    context
        .ui
        .show(&sandbox, || format!("sandbox/{} stopped", sandbox.name))
}
