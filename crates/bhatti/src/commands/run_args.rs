//! Flags about what a new sandbox runs by itself.

use bhatti_api::run::CreateRun;
use clap::{Args, ValueEnum};

/// What a new sandbox runs by itself.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Keep the image's program running in it; `bhatti logs` shows what it writes
    #[arg(long, conflicts_with = "from")]
    run: bool,
    /// The program, in place of the image's own
    #[arg(long, value_name = "PROGRAM", requires = "run")]
    entrypoint: Option<String>,
    /// Whether the program is started again when it has ended [default: on-failure]
    #[arg(long, value_enum, requires = "run")]
    restart: Option<Restart>,
    /// What is process 1 [default: auto, what the image asks for]
    #[arg(long, value_enum, conflicts_with = "from")]
    init: Option<Init>,
    /// With --run: arguments for the program in place of the image's own
    #[arg(last = true, value_name = "COMMAND", requires = "run")]
    command: Vec<String>,
}

/// Whether a program that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Restart {
    /// It is not
    No,
    /// If it did not end with exit code 0
    OnFailure,
    /// However it ended
    Always,
}

/// What is process 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Init {
    /// What the image asks for
    Auto,
    /// bhatti's own agent
    Lohar,
    /// The image's systemd
    Systemd,
}

impl RunArgs {
    /// The field `init` of the request.
    pub(crate) fn init(&self) -> Option<String> {
        self.init.as_ref().map(word)
    }

    /// The field `run` of the request.
    pub(crate) fn fields(self) -> Option<CreateRun> {
        self.run.then(|| CreateRun {
            entrypoint: self.entrypoint.map(|program| vec![program]),
            cmd: self.command,
            restart: self.restart.as_ref().map(word),
        })
    }
}

fn word(value: &impl ValueEnum) -> String {
    let shown = value.to_possible_value();
    shown.map_or_else(String::new, |shown| shown.get_name().to_owned())
}
