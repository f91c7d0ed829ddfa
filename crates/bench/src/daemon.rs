//! A daemon of the run's own, and its command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bhatti_api::exec::ExecRequest;
use bhatti_api::sandbox::{CreateSandbox, Sandbox};
use bhatti_client::client::Client;
use bhatti_client::endpoint::Endpoint;
use bhatti_types::id::DataDirId;
use bhatti_vmm::qemu::arguments;
use tokio::process::{Child, Command};

use crate::processor::Meter;

/// Time for a daemon to answer after its start, and to end after it was asked to.
const LIMIT: Duration = Duration::from_mins(1);
/// Pause between two looks whether it answers.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// The program's search path.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A running daemon. Killed when this is dropped; its machines are the site's to end.
#[derive(Debug)]
pub(crate) struct Daemon {
    program: PathBuf,
    data: PathBuf,
    home: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts a daemon and waits until it answers.
    pub(crate) async fn start(
        program: &Path,
        data: PathBuf,
        home: PathBuf,
        args: &[&str],
    ) -> anyhow::Result<Self> {
        let log = home.join("serve.log");
        let to = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)?
            .into_file();
        let mut command = command(program, &data, &home);
        command
            .args(["serve", "--listen", ""])
            .args(args)
            // Both sides work on the file system that was chosen for the run.
            .env("BHATTI_STORAGE", "plain")
            .stdout(to.try_clone()?)
            .stderr(to);
        let child = command.spawn().with_context(|| {
            let program = program.display();
            format!("failed to start {program}; build it: `cargo build --release -p bhatti`")
        })?;
        let mut daemon = Self {
            program: program.to_owned(),
            data,
            home,
            child,
        };
        let client = daemon.client();
        let until = Instant::now() + LIMIT;
        while client.health().await.is_err() {
            let ended = daemon.child.try_wait()?;
            if ended.is_some() || Instant::now() > until {
                let said = fs_err::read_to_string(&log).unwrap_or_default();
                bail!("the daemon does not answer: {said}");
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(daemon)
    }

    /// A client on its socket.
    pub(crate) fn client(&self) -> Client {
        Client::new(Endpoint::Unix(self.data.join("bhatti.sock")), None)
    }

    /// Its data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Its pid; an error if it has ended.
    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the daemon has ended")
    }

    /// How it copies machines' files; `unknown` if it is one that does not say.
    pub(crate) async fn storage(&self) -> anyhow::Result<String> {
        let storage = self.client().version().await?.storage;
        Ok(storage.map_or_else(|| "unknown".to_owned(), |storage| storage.kind))
    }

    /// The mark of its machines.
    pub(crate) fn mark(&self) -> anyhow::Result<String> {
        let id = fs_err::read_to_string(self.data.join("id"))?;
        let id: DataDirId = id.trim().parse()?;
        Ok(arguments::mark(&id))
    }

    /// Counts the time of the daemon and of its machines.
    pub(crate) fn meter(&self) -> anyhow::Result<Meter> {
        Ok(Meter::daemon(self.pid()?, self.mark()?))
    }

    /// Runs the command line to its end.
    pub(crate) async fn cli(&self, args: &[&str]) -> anyhow::Result<()> {
        let mut command = command(&self.program, &self.data, &self.home);
        let output = command
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`bhatti {}` failed: {}", args.join(" "), said.trim());
        }
        Ok(())
    }

    /// Makes a sandbox.
    pub(crate) async fn create(&self, name: &str, memory_mb: u64) -> anyhow::Result<Sandbox> {
        let new = CreateSandbox {
            name: Some(name.to_owned()),
            memory_mb: Some(memory_mb),
            ..CreateSandbox::default()
        };
        Ok(self.client().sandbox_create(&new).await?.sandbox)
    }

    /// Runs a command in a sandbox to its end.
    pub(crate) async fn exec(&self, name: &str, argv: &[&str]) -> anyhow::Result<()> {
        exec(&self.client(), name, argv).await
    }

    /// Asks it to stop and waits for its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()?).ok();
        let pid = pid.and_then(rustix::process::Pid::from_raw);
        let pid = pid.context("the daemon has no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        tokio::time::timeout(LIMIT, self.child.wait())
            .await
            .context("the daemon did not stop")??;
        Ok(())
    }
}

/// Runs a command in a sandbox to its end.
pub(crate) async fn exec(client: &Client, name: &str, argv: &[&str]) -> anyhow::Result<()> {
    let request = ExecRequest {
        cmd: argv.iter().map(|word| (*word).to_owned()).collect(),
        ..ExecRequest::default()
    };
    let result = client.exec(name, &request).await?;
    if result.exit_code != 0 {
        bail!(
            "{argv:?} ended with {}: {}",
            result.exit_code,
            result.stderr
        );
    }
    Ok(())
}

/// The program in an environment of its own. Killed if its handle is dropped.
fn command(program: &Path, data: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--data-dir")
        .arg(data)
        .env_clear()
        .env("HOME", home)
        .env("PATH", PATH)
        .current_dir(home)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}
