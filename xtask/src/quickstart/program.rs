//! The program `bhatti`: building it, and asking it things.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::environment::Environment;
use crate::run;

/// The profile `bhatti` is built with: optimized, without what takes most of the time of a
/// release build.
const PROFILE: &str = "quick";
/// Time limit of a command whose answer is only looked at.
const QUESTION_LIMIT: Duration = Duration::from_secs(30);

/// Builds `bhatti` and gives its path.
pub(super) async fn build(environment: &Environment) -> anyhow::Result<PathBuf> {
    let began = run::step("bhatti");
    let mut cargo = run::tool(&environment.cargo, &environment.root);
    cargo.args(["build", "--package", "bhatti", "--profile", PROFILE]);
    run::finish(cargo).await.context("failed to build bhatti")?;
    run::done(began, "built");
    Ok(environment.target.join(PROFILE).join("bhatti"))
}

/// Makes a data directory that only its owner may look into, unless it is there.
pub(super) fn make_private_dir(dir: &Path) -> anyhow::Result<()> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.with_context(|| format!("failed to make the data directory {}", dir.display()))
}

/// The program and the data directory it works on.
pub(super) struct Bhatti {
    /// The program.
    pub(super) program: PathBuf,
    /// The data directory.
    pub(super) data_dir: PathBuf,
}

impl Bhatti {
    /// The daemon's socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.data_dir.join("bhatti.sock")
    }

    /// Where the daemon's log goes.
    pub(super) fn log(&self) -> PathBuf {
        self.data_dir.join("serve.log")
    }

    /// The client, talking to this data directory's daemon whatever the user's configuration
    /// says.
    fn client(&self, args: &[&str]) -> tokio::process::Command {
        let mut command = run::tool(&self.program, &self.data_dir);
        command
            .env("BHATTI_CONFIG", "/dev/null")
            .env("BHATTI_DATA_DIR", &self.data_dir)
            .env_remove("BHATTI_URL")
            .env_remove("BHATTI_TOKEN")
            .args(args);
        command
    }

    /// Runs a command of the client as a user would, shown with its output.
    pub(super) async fn show(&self, args: &[&str]) -> anyhow::Result<()> {
        let shown = format!("bhatti {}", args.join(" "));
        run::say(&format!("    $ {shown}"));
        let status = self.client(args).status().await;
        let status = status.with_context(|| format!("failed to run `{shown}`"))?;
        if !status.success() {
            bail!(
                "`{shown}` failed ({status}); the daemon's log is {}",
                self.log().display()
            );
        }
        Ok(())
    }

    /// Runs a command of the client and gives its answer.
    pub(super) async fn ask(&self, args: &[&str]) -> anyhow::Result<Value> {
        let mut command = self.client(args);
        command.arg("--json").stderr(Stdio::null());
        parse(command, args).await
    }

    /// The configuration that the daemon would run with: the user's own.
    pub(super) async fn config(&self) -> anyhow::Result<Value> {
        let args = ["config", "show", "--json"];
        let mut command = run::tool(&self.program, &self.data_dir);
        command.env("BHATTI_DATA_DIR", &self.data_dir).args(args);
        parse(command, &args).await
    }
}

async fn parse(mut command: tokio::process::Command, args: &[&str]) -> anyhow::Result<Value> {
    let shown = format!("bhatti {}", args.join(" "));
    let output = tokio::time::timeout(QUESTION_LIMIT, command.stdout(Stdio::piped()).output())
        .await
        .with_context(|| format!("`{shown}` did not answer in {QUESTION_LIMIT:?}"))?
        .with_context(|| format!("failed to run `{shown}`"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{shown}` answered with something that is not JSON"))
}
