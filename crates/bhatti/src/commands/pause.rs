//! `bhatti pause`.

use bhatti_types::name::SandboxName;
use clap::Args;

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti pause`.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
}

/// Pauses a sandbox's vCPUs.
pub(crate) async fn run(args: PauseArgs, context: &Context) -> Result<(), Failure> {
    let name = args.sandbox.as_str();
    let client = context.client();
    let work = client.sandbox_pause(name);
    let sandbox = with_progress(&context.ui, format!("pausing sandbox {name}"), work).await?;
    context
        .ui
        .show(&sandbox, || format!("sandbox/{} paused", sandbox.name))
}
