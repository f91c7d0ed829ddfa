//! `bhatti exec`.

use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bhatti_api::exec::{DEFAULT_TIMEOUT_SEC, ExecRequest, ExecResult, MAX_TIMEOUT_SEC};
use bhatti_client::client::Client;
use bhatti_client::exec::ExecExit;
use bhatti_client::shell::ShellRequest;
use bhatti_types::name::SandboxName;
use clap::Args;
use clap::builder::RangedU64ValueParser;

use crate::failure::Failure;
use crate::pump::{Collected, Collector, Streams, pump};
use crate::run::Context;
use crate::terminal::{self, Ended};
use crate::values;

/// Flags of `bhatti exec`.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// Time limit [default: 300]
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = RangedU64ValueParser::<u64>::new().range(1..=MAX_TIMEOUT_SEC),
    )]
    timeout: Option<u64>,
    /// Environment over that of the sandbox; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Working directory [default: the image's own]
    #[arg(long, value_name = "DIR")]
    workdir: Option<String>,
    /// User name, uid, or USER:GROUP [default: the sandbox's own]
    #[arg(long)]
    user: Option<String>,
    /// With this terminal as its own: for editors, shells and what asks questions
    #[arg(short, long, conflicts_with_all = ["detach", "timeout"])]
    tty: bool,
    /// Leave it running; print its process id and the file that takes its output
    #[arg(long)]
    detach: bool,
    /// The command and its arguments, as they are
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs a command in a sandbox. The exit code is the command's.
pub(crate) async fn run(args: ExecArgs, context: &Context) -> Result<ExitCode, Failure> {
    let request = ExecRequest {
        cmd: args.command,
        env: values::env(&args.env)?,
        workdir: args.workdir,
        user: args.user,
        timeout_sec: args.timeout,
        detach: args.detach,
        output_file: None,
        stdin: !args.detach && !args.tty,
    };
    let client = context.client();
    let sandbox = args.sandbox.as_str();
    if args.tty {
        return on_terminal(&client, sandbox, request, context).await;
    }
    if args.detach {
        let detached = client.exec_detached(sandbox, &request).await?;
        context.ui.show(&detached, || {
            format!("pid: {}\noutput: {}", detached.pid, detached.output_file)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let exit = if context.ui.json() {
        collect(&client, sandbox, &request, context).await?
    } else {
        pump(&client, sandbox, &request, &mut Streams::new()).await?
    };
    if exit.timed_out {
        let seconds = request.timeout_sec.unwrap_or(DEFAULT_TIMEOUT_SEC);
        return Err(Failure::TimedOut { seconds });
    }
    // What does not fit into a byte is cut off as the kernel does it.
    Ok(ExitCode::from(exit.code as u8))
}

/// Runs it with this process's terminal as its own.
async fn on_terminal(
    client: &Client,
    sandbox: &str,
    exec: ExecRequest,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let request = ShellRequest {
        exec: Some(exec),
        ..ShellRequest::default()
    };
    match terminal::attach(client, sandbox, request, context).await? {
        Ended::Exit(code) => Ok(ExitCode::from(code as u8)),
        Ended::Detached { .. } | Ended::TakenOver { .. } | Ended::Lost { .. } => {
            Err(Failure::Said {
                message: "the connection was lost, and the command is being ended".to_owned(),
                hint: None,
            })
        }
    }
}

/// Keeps the output and prints it in the end, with how the command ended.
async fn collect(
    client: &Client,
    sandbox: &str,
    request: &ExecRequest,
    context: &Context,
) -> Result<ExecExit, Failure> {
    let mut collector = Collector::default();
    let exit = pump(client, sandbox, request, &mut collector).await?;
    let truncated = collector.stdout.truncated || collector.stderr.truncated;
    let (stdout, stdout_base64) = text(collector.stdout);
    let (stderr, stderr_base64) = text(collector.stderr);
    let result = ExecResult {
        exit_code: exit.code,
        stdout,
        stderr,
        stdout_base64,
        stderr_base64,
        signal: exit.signal,
        timed_out: exit.timed_out,
        truncated,
    };
    context.ui.show(&result, String::new)?;
    Ok(exit)
}

/// Output as text, and exactly if text does not hold it.
fn text(output: Collected) -> (String, Option<String>) {
    match String::from_utf8(output.bytes) {
        Ok(text) => (text, None),
        Err(error) => {
            let bytes = error.as_bytes();
            (
                String::from_utf8_lossy(bytes).into_owned(),
                Some(STANDARD.encode(bytes)),
            )
        }
    }
}
