//! `bhatti edit`.

use bhatti_api::idle::EditSandbox;
use bhatti_types::name::SandboxName;
use clap::Args;

use super::egress_args::EgressEditArgs;
use super::idle_args::IdleArgs;
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti edit`.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
    /// A new name, inside as well
    #[arg(long, value_parser = values::name::<SandboxName>)]
    name: Option<SandboxName>,
    /// Label to set; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// Label to take off; may be repeated
    #[arg(long, value_name = "KEY")]
    label_delete: Vec<String>,
    #[command(flatten)]
    idle: IdleArgs,
    #[command(flatten)]
    egress: EgressEditArgs,
}

/// Changes what is set for a sandbox.
pub(crate) async fn run(args: EditArgs, context: &Context) -> Result<(), Failure> {
    let (idle, egress) = (args.idle.fields(), args.egress.fields());
    let edit = EditSandbox {
        name: args.name.map(String::from),
        keep_hot: idle.keep_hot,
        labels_add: values::labels(&args.label)?,
        labels_remove: args.label_delete,
        idle_pause: idle.idle_pause,
        idle_cold: idle.idle_cold,
        busy_cpu: idle.busy_cpu,
        wake_timers: idle.wake_timers,
        egress: egress.egress,
        allow_cidrs: egress.allow_cidrs,
    };
    if edit == EditSandbox::default() {
        return Err(Failure::Usage {
            message: "nothing to change was given".to_owned(),
            hint: Some("see `bhatti edit --help`".to_owned()),
        });
    }
    let name = args.sandbox.as_str();
    let client = context.client();
    let work = client.sandbox_edit(name, &edit);
    let sandbox = with_progress(&context.ui, format!("changing sandbox {name}"), work).await?;
    context.ui.show(&sandbox, || {
        let shown = &sandbox.name;
        if edit.name.is_some() {
            format!("sandbox/{name} changed, now {shown}")
        } else {
            format!("sandbox/{shown} changed")
        }
    })
}
