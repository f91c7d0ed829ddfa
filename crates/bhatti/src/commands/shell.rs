//! `bhatti shell` and `bhatti ps`.

use std::process::ExitCode;

use bhatti_client::shell::ShellRequest;
use bhatti_types::name::SandboxName;
use clap::Args;

use crate::failure::Failure;
use crate::run::Context;
use crate::table::table;
use crate::terminal::{self, Ended};
use crate::values;

/// Flags of `bhatti shell`.
#[derive(Debug, Args)]
pub(crate) struct ShellArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// Begin a new session also if there is one that nobody is attached to
    #[arg(long, conflicts_with = "session")]
    new: bool,
    /// Attach to this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,
}

/// Flags of `bhatti ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
}

/// Attaches this terminal to a shell in a sandbox. The exit code is the shell's.
pub(crate) async fn run(args: ShellArgs, context: &Context) -> Result<ExitCode, Failure> {
    let request = ShellRequest {
        session: args.session,
        new: args.new,
        ..ShellRequest::default()
    };
    let sandbox = args.sandbox.as_str();
    let ended = terminal::attach(&context.client(), sandbox, request, context).await?;
    let back = |session: &str| format!("bhatti shell {sandbox} --session {session}");
    match ended {
        Ended::Exit(code) => Ok(ExitCode::from(code as u8)),
        Ended::Detached { session } => {
            context
                .ui
                .note(format!("detached; back by: {}", back(&session)));
            Ok(ExitCode::SUCCESS)
        }
        Ended::TakenOver { session } => Err(Failure::Said {
            message: "another client has attached to the session".to_owned(),
            hint: Some(format!("take it back by `{}`", back(&session))),
        }),
        Ended::Lost { session } => Err(Failure::Said {
            message: "the connection was lost; the session goes on".to_owned(),
            hint: Some(format!("attach to it again by `{}`", back(&session))),
        }),
    }
}

/// Lists the sessions of a sandbox.
pub(crate) async fn list(args: PsArgs, context: &Context) -> Result<(), Failure> {
    let sessions = context.client().sessions(args.sandbox.as_str()).await?;
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    context.ui.show(&sessions, || {
        let rows: Vec<_> = sessions
            .iter()
            .map(|session| {
                [
                    session.session_id.clone(),
                    session.argv.join(" "),
                    yes(session.running),
                    yes(session.attached),
                ]
            })
            .collect();
        table(&["ID", "COMMAND", "RUNNING", "ATTACHED"], &rows)
    })
}
