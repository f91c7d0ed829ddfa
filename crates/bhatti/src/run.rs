//! From the command line to the exit code.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use bhatti_client::client::Client;
use clap::Parser as _;
use tokio::runtime::{Builder, Runtime};

use crate::args::{Cli, Command};
use crate::commands::{
    completion, config, create, destroy, edit, exec, fork, gc, image, inspect, list, logs, pause,
    rollback, serve, setup, shell, sleep, snapshot, start, stop, template, tree, user, version,
    volume,
};
use crate::config::environment::Environment;
use crate::config::load::{Config, Presence, load};
use crate::failure::Failure;
use crate::output::{self, Ui};
use crate::reference::reference;
use crate::style::Paint;
use crate::usage;

/// What every command of the client has.
pub(crate) struct Context {
    /// Where to say things.
    pub(crate) ui: Ui,
    /// What is configured.
    pub(crate) config: Config,
    /// The environment.
    pub(crate) environment: Environment,
}

impl Context {
    /// A client of the daemon that is configured.
    pub(crate) fn client(&self) -> Client {
        let (endpoint, token) = self.config.target();
        Client::new(endpoint, token)
    }
}

/// The whole run.
pub(crate) fn main() -> ExitCode {
    let environment = Environment::read();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error, &environment),
    };
    let ui = Ui::new(&cli.globals, &environment);
    match run(cli, &ui, environment) {
        Ok(code) => code,
        Err(failure) => {
            if !failure.is_broken_pipe() {
                ui.fail(failure.message(), failure.hint().as_deref());
            }
            failure.exit_code()
        }
    }
}

/// Help that was asked for, or a mistake.
fn misused(error: &clap::Error, environment: &Environment) -> ExitCode {
    if usage::is_help(error) {
        // A reader that went away has had enough of the help.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let failure = usage::failure(error);
    if usage::is_unfinished(error) {
        let _ = error.print();
    } else {
        let colour = io::stderr().is_terminal() && !environment.plain();
        let paint = if colour { Paint::Colour } else { Paint::Plain };
        output::fail(paint, failure.message(), failure.hint().as_deref());
    }
    failure.exit_code()
}

fn run(cli: Cli, ui: &Ui, environment: Environment) -> Result<ExitCode, Failure> {
    let mut flags = cli.globals.config_flags();
    // What is made of the program alone is wanted even if the configuration is broken.
    match &cli.command {
        Command::Completion(args) => return completion::run(args).map(|()| ExitCode::SUCCESS),
        Command::Reference => {
            return output::write(reference().as_bytes()).map(|()| ExitCode::SUCCESS);
        }
        Command::Serve(args) => flags.extend(args.config_flags()),
        _ => {}
    }
    let named = match &cli.command {
        // It is about to be made.
        Command::Setup => Presence::Optional,
        _ => Presence::Required,
    };
    let config = load(&environment, named, &flags)?;
    let context = Context {
        ui: ui.clone(),
        config,
        environment,
    };
    if let Command::Serve(args) = &cli.command {
        return serve::run(args, &context).map(|()| ExitCode::SUCCESS);
    }
    if cli.globals.verbose {
        say_calls();
    }
    let runtime = client_runtime()?;
    let result = runtime.block_on(command(cli.command, &context));
    // A read of standard input may be waiting in a thread of its own, and would for ever.
    runtime.shutdown_background();
    result
}

async fn command(command: Command, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        Command::Create(args) => create::run(args, context).await?,
        Command::List(args) => list::run(args, context).await?,
        Command::Inspect(args) => inspect::run(args, context).await?,
        Command::Edit(args) => edit::run(args, context).await?,
        Command::Pause(args) => pause::run(args, context).await?,
        Command::Stop(args) => stop::run(args, context).await?,
        Command::Sleep(args) => sleep::run(args, context).await?,
        Command::Start(args) => start::run(args, context).await?,
        Command::Destroy(args) => destroy::run(args, context).await?,
        Command::Exec(args) => return exec::run(args, context).await,
        Command::Shell(args) => return shell::run(args, context).await,
        Command::Ps(args) => shell::list(args, context).await?,
        Command::Logs(args) => logs::run(args, context).await?,
        Command::Snapshot(command) => snapshot::run(command, context).await?,
        Command::Volume(command) => volume::run(command, context).await?,
        Command::Fork(args) => fork::run(args, context).await?,
        Command::Rollback(args) => rollback::run(args, context).await?,
        Command::Tree(args) => tree::run(args, context).await?,
        Command::Image(command) => image::run(command, context).await?,
        Command::Gc(args) => gc::run(args, context).await?,
        Command::Template(command) => template::run(command, context).await?,
        Command::User(command) => user::run(command, context).await?,
        Command::Setup => setup::run(context).await?,
        Command::Version => version::run(context).await?,
        Command::Config(command) => config::run(&command, context)?,
        // These need no runtime, or one of another kind, and are done before this one is made.
        Command::Completion(_) | Command::Reference | Command::Serve(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// One thread, which starts in a fraction of a millisecond.
fn client_runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io {
            what: "start",
            source,
        })
}

/// Prints the client's own messages to standard error.
fn say_calls() {
    let filter = tracing_subscriber::filter::Targets::new()
        .with_target("bhatti_client", tracing::Level::DEBUG);
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_target(false)
        .with_level(false)
        .with_ansi(false)
        .without_time();
    tracing_subscriber::registry()
        .with(layer)
        .with(filter)
        .init();
}
