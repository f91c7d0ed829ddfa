//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::compare;
use crate::results::Results;
use crate::run;
use crate::say::{give, say};

/// Measures bhatti beside the bare operations under it.
///
/// Prints a table, and keeps it with all values and pictures of them. See docs/bench.md.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask bench",
    bin_name = "cargo xtask bench",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what changed between two runs, beyond noise.
    Compare {
        /// Results of the run before.
        before: PathBuf,
        /// Results of the run after.
        after: PathBuf,
    },
}

/// How to run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Take less than 3 minutes: fewer samples, and checkpoints of small machines only
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measure only rows whose names contain this; may be repeated
    #[arg(long, value_name = "WORD")]
    pub(crate) only: Vec<String>,
    /// Measure another product beside it
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) peer: Option<Peer>,
    /// Measure nothing; show where the time of one create, wake and exec goes
    #[arg(long)]
    pub(crate) trace: bool,
    /// Where the run's directory is made; its file system is what is measured
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Where results are kept [default: bench/results]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// The `bhatti` program [default: the one built beside this]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) program: Option<PathBuf>,
    /// Where guest kits and images are cached [default: ~/.cache/bhatti]
    #[arg(long, value_name = "DIR", env = "BHATTI_CACHE_DIR")]
    pub(crate) cache: Option<PathBuf>,
}

/// Products to measure beside bhatti.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Libvirt, by `virsh`
    Libvirt,
}

/// Runs the command.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Some(Command::Compare { before, after }) => compared(&before, &after),
        None => run::main(&cli.run),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn compared(before: &std::path::Path, after: &std::path::Path) -> anyhow::Result<()> {
    let (before, after) = (Results::read(before)?, Results::read(after)?);
    Ok(give(&compare::page(&before, &after))?)
}

#[cfg(test)]
mod test {
    use clap::Parser as _;

    use super::{Cli, Command};

    #[test]
    fn a_run_and_a_comparison_are_told_apart() {
        let cli = Cli::try_parse_from(["bench", "--quick", "--only", "exec"]).unwrap();
        assert!(cli.command.is_none() && cli.run.quick && cli.run.only == ["exec"]);
        let cli = Cli::try_parse_from(["bench", "compare", "a", "b"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Compare { .. })));
        assert!(Cli::try_parse_from(["bench", "--quick", "compare", "a", "b"]).is_err());
        assert!(Cli::try_parse_from(["bench", "--peer", "docker"]).is_err());
    }
}
