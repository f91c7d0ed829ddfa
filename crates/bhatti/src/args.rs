//! The command line: flags of all commands and the list of commands.

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::completion::CompletionArgs;
use crate::commands::config::ConfigCommand;
use crate::commands::create::CreateArgs;
use crate::commands::destroy::DestroyArgs;
use crate::commands::edit::EditArgs;
use crate::commands::exec::ExecArgs;
use crate::commands::fork::ForkArgs;
use crate::commands::gc::GcArgs;
use crate::commands::image::ImageCommand;
use crate::commands::inspect::InspectArgs;
use crate::commands::list::ListArgs;
use crate::commands::logs::LogsArgs;
use crate::commands::pause::PauseArgs;
use crate::commands::rollback::RollbackArgs;
use crate::commands::serve::ServeArgs;
use crate::commands::shell::{PsArgs, ShellArgs};
use crate::commands::sleep::SleepArgs;
use crate::commands::snapshot::SnapshotCommand;
use crate::commands::start::StartArgs;
use crate::commands::stop::StopArgs;
use crate::commands::template::TemplateCommand;
use crate::commands::tree::TreeArgs;
use crate::commands::user::UserCommand;
use crate::commands::volume::VolumeCommand;
use crate::config::keys::{API_URL, AUTH_TOKEN, DATA_DIR};
use crate::config::load::Flags;

/// Real machines on demand, on your own Linux host.
#[derive(Debug, Parser)]
#[command(
    name = "bhatti",
    version,
    propagate_version = false,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// URL of the daemon, in place of the socket in the data directory
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Token for the daemon
    #[arg(long, global = true, value_name = "TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Data directory of the daemon on this host
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
    /// Say on standard error what is asked of the daemon
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

impl GlobalArgs {
    /// The flags that are also keys of the configuration.
    pub(crate) fn config_flags(&self) -> Flags {
        let flags = [
            (API_URL, &self.url),
            (AUTH_TOKEN, &self.token),
            (DATA_DIR, &self.data_dir),
        ];
        flags
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?)))
            .collect()
    }
}

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On terminals
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a sandbox
    Create(CreateArgs),
    /// List sandboxes
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show one sandbox
    #[command(visible_alias = "info")]
    Inspect(InspectArgs),
    /// Change what is set for a sandbox
    Edit(EditArgs),
    /// Pause a sandbox's vCPUs; the next request lets them go on
    Pause(PauseArgs),
    /// Put a sandbox to disk, memory and all
    Stop(StopArgs),
    /// Put a sandbox, or all of them, to disk, memory and all
    Sleep(SleepArgs),
    /// Wake a sandbox that is paused, asleep or off
    #[command(visible_alias = "wake")]
    Start(StartArgs),
    /// Take a sandbox away for good
    #[command(visible_alias = "rm")]
    Destroy(DestroyArgs),
    /// Run a command in a sandbox
    Exec(ExecArgs),
    /// Attach this terminal to a shell in a sandbox
    ///
    /// Ctrl+\ detaches; the shell goes on, and the next `bhatti shell` comes back to it. It also goes
    /// on if the connection breaks.
    #[command(visible_alias = "sh")]
    Shell(ShellArgs),
    /// List the shells of a sandbox
    Ps(PsArgs),
    /// Show what the program wrote that a sandbox keeps running
    Logs(LogsArgs),
    /// Take and use checkpoints of whole machines
    #[command(subcommand, visible_alias = "snap")]
    Snapshot(SnapshotCommand),
    /// Make and use disks that outlive sandboxes
    #[command(subcommand, visible_alias = "vol")]
    Volume(VolumeCommand),
    /// Make copies of a sandbox that go on from this instant of it
    ///
    /// Memory, processes, connections and disk of the copies are those of the sandbox, which stands
    /// still for a moment and goes on. Either all copies are made or none is.
    Fork(ForkArgs),
    /// Put a sandbox back to one of its checkpoints
    ///
    /// It keeps its name, address and settings. What it is now is kept as an automatic checkpoint,
    /// of which there are at most three for a sandbox.
    Rollback(RollbackArgs),
    /// Show which sandboxes and checkpoints descend from which
    Tree(TreeArgs),
    /// Pull, make, share and delete images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Delete layers, templates and remains that nothing needs any more
    Gc(GcArgs),
    /// Look at the templates that creates are forked from
    #[command(subcommand)]
    Template(TemplateCommand),
    /// Manage the users of this host's daemon
    #[command(subcommand)]
    User(UserCommand),
    /// Log in to a daemon: try --url and --token, and keep them
    ///
    /// What is missing is asked for on a terminal. The file is ~/.bhatti/config.yaml, readable by
    /// you alone.
    Setup,
    /// Show the versions of this program and of the daemon
    Version,
    /// Print a completion script for a shell
    Completion(CompletionArgs),
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Run the daemon
    Serve(ServeArgs),
    /// Print the reference of the command line as Markdown
    #[command(hide = true)]
    Reference,
}
