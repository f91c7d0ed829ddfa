//! `bhatti rollback`.

use bhatti_api::sandbox::RollbackSandbox;
use bhatti_types::name::{SandboxName, SnapshotName};
use clap::Args;

use crate::failure::Failure;
use crate::progress::with_progress;
use crate::prompt::confirm;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti rollback`.
#[derive(Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// The checkpoint, which was taken of this same sandbox
    #[arg(long, value_name = "SNAPSHOT", value_parser = values::name::<SnapshotName>)]
    to: SnapshotName,
    /// Also if the sandbox has no memory, so that what is on its disk now can't be kept
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Puts a sandbox back to one of its checkpoints.
pub(crate) async fn run(args: RollbackArgs, context: &Context) -> Result<(), Failure> {
    let (name, to) = (args.sandbox.as_str(), args.to.as_str());
    let what = format!("put sandbox {name:?} back to checkpoint {to:?}");
    confirm(&context.ui, args.yes, &what)?;
    let client = context.client();
    let rollback = RollbackSandbox {
        to: to.to_owned(),
        force: args.force,
    };
    let work = client.sandbox_rollback(name, &rollback);
    let what = format!("putting sandbox {name} back to checkpoint {to}");
    let done = with_progress(&context.ui, what, work).await?;
    context.ui.show(&done, || {
        let back = format!("sandbox/{} is back at {to}", done.sandbox.name);
        match &done.kept_as {
            Some(kept) => format!("{back} (what it was before: {kept})"),
            None => back,
        }
    })
}
