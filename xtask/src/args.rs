//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::environment::Environment;
use crate::{bench, guest_kit, images, packages, pool, quickstart, run, test};

/// Tasks of the bhatti project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install the distribution packages that are missing.
    Packages,
    /// Build the guest kit: kernel, modules and agent.
    GuestKit {
        /// Install the kit into this data directory.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
        /// Look for a newer kernel.
        #[arg(long)]
        refresh: bool,
    },
    /// Build an image of a recipe in `images/`.
    BaseImage {
        /// The recipe.
        #[arg(long, value_name = "NAME", default_value = "base")]
        recipe: String,
        /// Install the image into this data directory.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Build the images of recipes that come with bhatti: those named, or all.
    Image {
        /// The recipes.
        #[arg(value_name = "RECIPE")]
        recipes: Vec<String>,
    },
    /// From nothing to a running daemon with machines in it.
    Quickstart {
        /// The data directory; `~/.bhatti` if not given.
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Mount a file system that shares blocks, for tests that are run by hand.
    Pool {
        /// Unmount it.
        #[arg(long)]
        release: bool,
    },
    /// Measure bhatti beside the bare operations under it.
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments for the bench, such as `--quick` or `compare A B`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Check formatting and lints, and run all tests.
    Test {
        /// Run the tests only.
        #[arg(long)]
        no_lint: bool,
        /// Arguments for `cargo nextest run`, such as a filter.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        nextest: Vec<String>,
    },
}

/// Runs the task of the command line.
pub(crate) fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(perform(args.task)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn perform(task: Task) -> anyhow::Result<()> {
    let environment = Environment::read()?;
    match task {
        Task::Packages => packages::install(&environment).await,
        Task::GuestKit { data_dir, refresh } => {
            let refresh = guest_kit::refresh(refresh);
            guest_kit::build(&environment, refresh, data_dir.as_deref())
                .await
                .map(drop)
        }
        Task::BaseImage { recipe, data_dir } => {
            images::build(&environment, &recipe, data_dir.as_deref())
                .await
                .map(drop)
        }
        Task::Image { recipes } if recipes.is_empty() => images::all(&environment).await.map(drop),
        Task::Image { recipes } => {
            for recipe in recipes {
                images::build(&environment, &recipe, None).await?;
            }
            Ok(())
        }
        Task::Pool { release } => {
            let wanted = if release {
                pool::Wanted::Released
            } else {
                pool::Wanted::Kept
            };
            pool::by_hand(&environment, wanted).await
        }
        Task::Quickstart { data_dir } => quickstart::run(&environment, data_dir).await,
        Task::Bench { args } => bench::run(&environment, &args).await,
        Task::Test { no_lint, nextest } => {
            let lints = if no_lint {
                test::Lints::Skip
            } else {
                test::Lints::Check
            };
            test::run(&environment, lints, &nextest).await
        }
    }
}
