//! `bhatti destroy`.

use bhatti_types::name::SandboxName;
use clap::Args;

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::prompt::confirm;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti destroy`.
#[derive(Debug, Args)]
pub(crate) struct DestroyArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Takes a sandbox away.
pub(crate) async fn run(args: DestroyArgs, context: &Context) -> Result<(), Failure> {
    let name = args.sandbox.as_str();
    confirm(&context.ui, args.yes, &format!("destroy sandbox {name:?}"))?;
    let client = context.client();
    let work = client.sandbox_destroy(name);
    let status = with_progress(&context.ui, format!("destroying sandbox {name}"), work).await?;
    context
        .ui
        .show(&status, || format!("sandbox/{name} destroyed"))
}
