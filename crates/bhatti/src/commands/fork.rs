//! `bhatti fork`.

use bhatti_api::sandbox::ForkSandbox;
use bhatti_types::name::SandboxName;
use clap::Args;

use super::idle_args::wait;
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti fork`.
#[derive(Debug, Args)]
pub(crate) struct ForkArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// Name of the copy; several get -1, -2 and so on after it [default: the source's with -fork]
    #[arg(long, value_parser = values::name::<SandboxName>)]
    name: Option<SandboxName>,
    /// How many copies, from 1 to 100
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1)]
    count: u64,
    /// Wait this long for room in the host's memory before giving up
    #[arg(long, value_name = "TIME", value_parser = wait)]
    wait: Option<u64>,
}

/// Makes copies of a sandbox.
pub(crate) async fn run(args: ForkArgs, context: &Context) -> Result<(), Failure> {
    let source = args.sandbox.as_str();
    let fork = ForkSandbox {
        name: args.name.map(String::from),
        count: Some(args.count),
        wait_sec: args.wait,
    };
    let client = context.client();
    let work = client.sandbox_fork(source, &fork);
    let copies = with_progress(&context.ui, format!("forking sandbox {source}"), work).await?;
    context.ui.show(&copies, || {
        let lines: Vec<_> = copies
            .iter()
            .map(|copy| forked(&copy.name, source))
            .collect();
        lines.join("\n")
    })
}

/// The line about a new copy.
pub(crate) fn forked(name: &str, source: &str) -> String {
    format!("sandbox/{name} created (forked from {source})")
}
