//! `bhatti completion`.

use clap::{Args, CommandFactory as _, ValueEnum};

use crate::args::Cli;
use crate::failure::Failure;
use crate::output;

/// Flags of `bhatti completion`.
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Shells that can be helped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// source <(bhatti completion bash)
    Bash,
    /// source <(bhatti completion zsh)
    Zsh,
    /// bhatti completion fish | source
    Fish,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bhatti", &mut script);
    output::write(&script)
}
