//! `bhatti start`.

use bhatti_api::sandbox::StartSandbox;
use bhatti_types::name::SandboxName;
use clap::Args;

use super::idle_args::wait;
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// Give up its sleeping memory and boot from its disk
    #[arg(long)]
    force: bool,
    /// Wait this long for room in the host's memory before giving up
    #[arg(long, value_name = "TIME", value_parser = wait)]
    wait: Option<u64>,
}

/// Wakes a sandbox.
pub(crate) async fn run(args: StartArgs, context: &Context) -> Result<(), Failure> {
    let name = args.sandbox.as_str();
    let client = context.client();
    let start = StartSandbox {
        force: args.force,
        wait_sec: args.wait,
    };
    let work = client.sandbox_start(name, &start);
    let sandbox = with_progress(&context.ui, format!("starting sandbox {name}"), work).await?;
    context
        .ui
        .show(&sandbox, || format!("sandbox/{} started", sandbox.name))
}
