//! `bhatti inspect`.

use bhatti_api::idle::Idle;
use bhatti_api::run::Run;
use bhatti_api::sandbox::Sandbox;
use bhatti_types::name::SandboxName;
use clap::Args;

use crate::failure::Failure;
use crate::run::Context;
use crate::table::details;
use crate::values;

/// Flags of `bhatti inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The sandbox, by name or id
    #[arg(value_parser = values::name::<SandboxName>)]
    sandbox: SandboxName,
}

/// Shows one sandbox.
pub(crate) async fn run(args: InspectArgs, context: &Context) -> Result<(), Failure> {
    let sandbox = context
        .client()
        .sandbox_get_with_usage(args.sandbox.as_str())
        .await?;
    context.ui.show(&sandbox, || people(&sandbox))
}

/// Why it is awake, when it will not be, and what is set about that.
fn awake(idle: &Idle) -> Vec<(&'static str, String)> {
    let next = match (idle.next.as_str(), &idle.next_at, &idle.because) {
        ("pause", Some(at), _) => format!("pauses {at} if nobody uses it"),
        ("sleep", Some(at), _) => format!("goes to disk {at} if nobody uses it"),
        (_, _, Some(because)) if because == "in use" => "stays awake while it is in use".to_owned(),
        (_, _, Some(because)) if because == "kept hot" => "is kept hot".to_owned(),
        (_, _, Some(because)) if because == "never" => {
            "stays as it is: its idle time is never".to_owned()
        }
        _ => String::new(),
    };
    let mut lines = Vec::new();
    if !next.is_empty() {
        lines.push(("When idle", next));
    }
    lines.extend(
        idle.leases
            .iter()
            .map(|lease| ("Used by", format!("{} since {}", lease.what, lease.since))),
    );
    lines.push(("Last used", idle.last_used_at.clone()));
    let mut times = vec![
        format!("pause after {}", idle.idle_pause),
        format!("disk after {}", idle.idle_cold),
    ];
    times.extend(
        idle.busy_cpu
            .map(|share| format!("in use above {share} % of a core")),
    );
    if idle.wake_timers {
        times.push("woken for timers".to_owned());
    }
    lines.push(("Idle times", times.join(", ")));
    lines.extend(
        idle.wake_at
            .clone()
            .map(|at| ("Wakes", format!("{at} for a timer"))),
    );
    lines
}

/// What it may reach.
fn egress(sandbox: &Sandbox) -> String {
    if sandbox.allow_cidrs.is_empty() {
        sandbox.egress.clone()
    } else {
        format!("{} and {}", sandbox.egress, sandbox.allow_cidrs.join(", "))
    }
}

/// The program that it keeps running, and how that is.
fn program(run: &Run) -> Vec<(&'static str, String)> {
    let command = run.command.join(" ");
    let mut lines = vec![("Runs", format!("{command} (restart {})", run.restart))];
    let Some(state) = &run.state else {
        return lines;
    };
    let mut words = vec![match (&state.pid, &state.since) {
        (Some(pid), Some(since)) => format!("{} as {pid} since {since}", state.status),
        (_, Some(since)) => format!("{} since {since}", state.status),
        (_, None) => state.status.clone(),
    }];
    if state.restarts > 0 {
        words.push(format!("started again {} times", state.restarts));
    }
    words.extend(match (state.exit_code, state.signal) {
        (_, Some(signal)) => Some(format!("last ended by signal {signal}")),
        (Some(code), None) => Some(format!("last ended with exit code {code}")),
        (None, None) => None,
    });
    words.extend(state.error.clone());
    lines.push(("Program", words.join(", ")));
    lines
}

fn people(sandbox: &Sandbox) -> String {
    let engine = match &sandbox.accelerator {
        Some(accelerator) => format!("{} ({accelerator})", sandbox.engine),
        None => sandbox.engine.clone(),
    };
    let mut lines = vec![
        ("Name", sandbox.name.clone()),
        ("ID", sandbox.id.clone()),
        ("Status", sandbox.status.clone()),
    ];
    lines.extend(sandbox.reason.clone().map(|reason| ("Reason", reason)));
    lines.push(("Thermal", sandbox.thermal.clone()));
    if let Some(idle) = &sandbox.idle {
        lines.extend(awake(idle));
    }
    lines.push(("Image", sandbox.image.clone()));
    lines.extend(
        sandbox
            .resumed_from
            .clone()
            .map(|name| ("Resumed from", name)),
    );
    lines.extend(sandbox.forked_from.clone().map(|id| ("Forked from", id)));
    lines.push(("Created", sandbox.created_at.clone()));
    lines.extend(sandbox.stopped_at.clone().map(|at| ("Stopped", at)));
    lines.push(("CPUs", sandbox.cpus.to_string()));
    lines.push(("Memory", format!("{} MB", sandbox.memory_mb)));
    lines.push(("Disk", format!("{} MB", sandbox.disk_size_mb)));
    if sandbox.disk_own_bytes.is_some() {
        let own = values::on_disk(sandbox.disk_own_bytes);
        let shared = values::on_disk(sandbox.disk_shared_bytes);
        lines.push(("On disk", format!("{own} own, {shared} shared")));
    }
    lines.extend(sandbox.volumes.iter().map(|volume| {
        let how = if volume.read_only { ", read only" } else { "" };
        (
            "Volume",
            format!("{} at {}{how}", volume.name, volume.mount),
        )
    }));
    lines.push(("Engine", engine));
    if !sandbox.ip.is_empty() {
        lines.push(("IP", sandbox.ip.clone()));
        lines.push(("Egress", egress(sandbox)));
    }
    lines.extend(sandbox.user.clone().map(|user| ("User", user)));
    lines.extend(sandbox.init.clone().map(|init| ("Init", init)));
    lines.extend(sandbox.run.iter().flat_map(program));
    if !sandbox.labels.is_empty() {
        lines.push(("Labels", values::joined(&sandbox.labels)));
    }
    lines.extend(sandbox.urls.iter().map(|url| ("URL", url.clone())));
    details(&lines)
}
