//! `bhatti sleep`.

use bhatti_api::idle::{SleepAll, SleptAll};
use bhatti_types::name::SandboxName;
use clap::Args;

use super::idle_args::wait;
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti sleep`.
#[derive(Debug, Args)]
pub(crate) struct SleepArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>, required_unless_present = "all")]
    sandbox: Option<SandboxName>,
    /// All machines of all users, as the host's administrator
    #[arg(long, conflicts_with = "sandbox")]
    all: bool,
    /// Time that putting all of them to sleep may take [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = wait, requires = "all")]
    limit: Option<u64>,
    /// The host is going down: wake nothing any more
    #[arg(long, requires = "all")]
    going_down: bool,
}

/// Puts a sandbox, or all, to disk.
pub(crate) async fn run(args: SleepArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    if let Some(sandbox) = &args.sandbox {
        let name = sandbox.as_str();
        let work = client.sandbox_stop(name);
        let what = format!("putting sandbox {name} to sleep");
        let sandbox = with_progress(&context.ui, what, work).await?;
        return context
            .ui
            .show(&sandbox, || format!("sandbox/{} asleep", sandbox.name));
    }
    let all = SleepAll {
        limit_sec: args.limit,
        going_down: args.going_down,
    };
    let work = client.sleep_all(&all);
    let slept = with_progress(
        &context.ui,
        "putting all machines to sleep".to_owned(),
        work,
    )
    .await?;
    context.ui.show(&slept, || people(&slept))?;
    if slept.awake.is_empty() {
        Ok(())
    } else {
        Err(Failure::Said {
            message: format!("{} machines are awake", slept.awake.len()),
            hint: Some("those have no sleeping memory after the host goes down".to_owned()),
        })
    }
}

fn people(slept: &SleptAll) -> String {
    let mut lines = vec![format!("{} machines went to sleep", slept.asleep)];
    lines.extend(
        slept
            .awake
            .iter()
            .map(|awake| format!("sandbox/{} is awake: {}", awake.name, awake.reason)),
    );
    lines.join("\n")
}
