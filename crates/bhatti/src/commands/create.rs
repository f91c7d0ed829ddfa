//! `bhatti create`.

use bhatti_api::sandbox::CreateSandbox;
use bhatti_api::volume::PersistentVolume;
use bhatti_types::name::{ImageName, SandboxName};
use clap::Args;

use super::egress_args::EgressArgs;
use super::fork::forked;
use super::idle_args::{IdleArgs, wait};
use super::run_args::RunArgs;
use super::size_args::SizeArgs;
use crate::failure::Failure;
use crate::progress::with_progress;
use crate::run::Context;
use crate::values;

/// Flags of `bhatti create`.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name; one is made up if there is none
    #[arg(long, value_parser = values::name::<SandboxName>)]
    name: Option<SandboxName>,
    /// Make it a copy of this sandbox, by name or id, as `bhatti fork` does
    #[arg(
        long,
        value_name = "SANDBOX",
        value_parser = values::name::<SandboxName>,
        conflicts_with_all = ["image", "cpus", "memory", "disk_size", "env", "label", "user", "volume"]
    )]
    from: Option<SandboxName>,
    /// The image it is made from [default: base]
    #[arg(long, value_parser = values::name::<ImageName>)]
    image: Option<ImageName>,
    #[command(flatten)]
    size: SizeArgs,
    /// Environment of every command in it; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Label; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<String>,
    /// A volume and where it is mounted, `:ro` to read it alone; may be repeated
    #[arg(long, value_name = "NAME:PATH[:ro]", value_parser = values::volume)]
    volume: Vec<values::VolumeFlag>,
    /// User that commands run as [default: the image's own]
    #[arg(long)]
    user: Option<String>,
    /// Wait this long for room in the host's memory before giving up
    #[arg(long, value_name = "TIME", value_parser = wait)]
    wait: Option<u64>,
    #[command(flatten)]
    idle: IdleArgs,
    #[command(flatten)]
    egress: EgressArgs,
    #[command(flatten)]
    run: RunArgs,
}

/// Makes a sandbox.
pub(crate) async fn run(args: CreateArgs, context: &Context) -> Result<(), Failure> {
    let (idle, egress) = (args.idle.fields(), args.egress.fields());
    let new = CreateSandbox {
        name: args.name.map(String::from),
        from: args.from.map(String::from),
        image: args.image.map(String::from),
        cpus: args.size.cpus(),
        memory_mb: args.size.memory,
        disk_size_mb: args.size.disk_size,
        env: values::env(&args.env)?,
        labels: values::labels(&args.label)?,
        user: args.user,
        keep_hot: idle.keep_hot,
        idle_pause: idle.idle_pause,
        idle_cold: idle.idle_cold,
        busy_cpu: idle.busy_cpu,
        wake_timers: idle.wake_timers,
        egress: egress.egress,
        allow_cidrs: egress.allow_cidrs,
        init: args.run.init(),
        run: args.run.fields(),
        wait_sec: args.wait,
        persistent_volumes: args
            .volume
            .into_iter()
            .map(PersistentVolume::from)
            .collect(),
    };
    let what = match &new.name {
        Some(name) => format!("creating sandbox {name}"),
        None => "creating a sandbox".to_owned(),
    };
    let client = context.client();
    let created = with_progress(&context.ui, what, client.sandbox_create(&new)).await?;
    let sandbox = created.sandbox;
    context.ui.show(&sandbox, || {
        let name = &sandbox.name;
        if created.existing {
            return format!("sandbox/{name} unchanged (already exists)");
        }
        if let Some(source) = &new.from {
            return forked(name, source);
        }
        let disk = match new.disk_size_mb {
            None | Some(0) => String::new(),
            Some(_) => format!(", {} MB disk", sandbox.disk_size_mb),
        };
        let ip = match sandbox.ip.as_str() {
            "" => String::new(),
            ip => format!("\nIP: {ip}"),
        };
        format!(
            "sandbox/{name} created ({} vCPU, {} MB{disk}){ip}",
            sandbox.cpus, sandbox.memory_mb
        )
    })
}
