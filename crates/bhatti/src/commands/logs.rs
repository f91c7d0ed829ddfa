//! `bhatti logs`.

use bhatti_types::name::SandboxName;
use clap::Args;
use tokio::io::AsyncWriteExt as _;

use crate::failure::Failure;
use crate::run::Context;
use crate::signals::Signals;
use crate::values;

/// Flags of `bhatti logs`.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// Go on with what it writes, until this is interrupted
    #[arg(short, long)]
    follow: bool,
    /// Only so many lines of the end
    #[arg(short = 'n', long, value_name = "LINES")]
    tail: Option<u32>,
}

/// Prints what the program wrote that a sandbox keeps running.
pub(crate) async fn run(args: LogsArgs, context: &Context) -> Result<(), Failure> {
    let client = context.client();
    let mut logs = client
        .logs(args.sandbox.as_str(), args.tail, args.follow)
        .await?;
    let mut signals = Signals::new()?;
    let mut stdout = tokio::io::stdout();
    loop {
        let piece = tokio::select! {
            piece = logs.next() => piece?,
            // Whoever follows has seen enough.
            _ = signals.next(), if args.follow => return Ok(()),
        };
        let Some(piece) = piece else { return Ok(()) };
        let written = async {
            stdout.write_all(&piece).await?;
            stdout.flush().await
        };
        written.await.map_err(|source| Failure::Stdout { source })?;
    }
}
