//! A real daemon over a data directory of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bhatti_client::client::Client;
use bhatti_client::endpoint::Endpoint;
use bhatti_host::pool::release::release;
use bhatti_host::process::find_by_argument;
use bhatti_types::id::DataDirId;
use bhatti_vmm::machine::{Found, Vmm as _};
use bhatti_vmm::qemu::launcher::Qemu;
use tokio::process::Child;

use crate::artifacts;
use crate::cli::{self, CliOutput};
use crate::templates;
use crate::wait::wait_for;

/// Time for a daemon to answer after its start; repairs and adoption come before.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Time for a daemon to end after it was asked to.
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// Time for a pool to be free of processes that were killed.
const RELEASE_LIMIT: Duration = Duration::from_secs(30);

/// A daemon, and all that it made: ended and deleted when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    root: tempfile::TempDir,
    child: Option<Child>,
}

/// What a data directory holds, as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inventory {
    /// Directories under `sandboxes/`.
    pub sandboxes: BTreeSet<String>,
    /// Directories under `snapshots/`.
    pub snapshots: BTreeSet<String>,
    /// Directories under `templates/`.
    pub templates: BTreeSet<String>,
    /// Sandboxes that VMM processes say they are.
    pub machines: Vec<String>,
}

impl Daemon {
    /// A daemon with the guest kit, the base image, and templates of it.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more arguments to `bhatti serve`.
    pub async fn start_with(args: &[&str]) -> Self {
        let mut daemon = Self::prepare();
        artifacts::install(&daemon.data_dir());
        templates::seed(&daemon.data_dir()).await;
        daemon.serve(args).await;
        daemon
    }

    /// A daemon with the guest kit and the image of one recipe, and no templates: each machine
    /// boots.
    pub async fn start_with_image(recipe: &str) -> Self {
        let mut daemon = Self::prepare();
        artifacts::install_kit(&daemon.data_dir());
        artifacts::install_image(&daemon.data_dir(), recipe);
        daemon.serve(&["--max-templates", "0"]).await;
        daemon
    }

    /// A data directory with nothing in it and no daemon yet.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn prepare() -> Self {
        let root = artifacts::test_dir();
        for dir in ["data", "home"] {
            fs_err::create_dir(root.path().join(dir)).expect("a directory can be made");
        }
        Self { root, child: None }
    }

    /// Starts `bhatti serve` and waits until it answers.
    ///
    /// # Panics
    /// If it does not.
    pub async fn serve(&mut self, args: &[&str]) {
        self.spawn(args);
        let client = self.client();
        let log = self.log();
        let child = self.child.as_mut().expect("it was just started");
        wait_for("the daemon's first answer", START_LIMIT, async || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("the daemon ended ({status}): {}", read(&log));
            }
            client.health().await.map_err(|error| error.to_string())
        })
        .await;
    }

    /// Starts `bhatti serve` without waiting for it.
    ///
    /// # Panics
    /// If it can't be started.
    pub fn spawn(&mut self, args: &[&str]) {
        let log = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .expect("the log can be written")
            .into_file();
        let mut arguments = vec!["serve", "--log-level", "debug"];
        if !args.contains(&"--listen") {
            arguments.extend(["--listen", ""]);
        }
        if !args.contains(&"--accelerator") {
            arguments.extend(["--accelerator", "tcg"]);
        }
        // Clones in stock are machines that a test does not know of.
        if !args.contains(&"--pool") {
            arguments.extend(["--pool", "0"]);
        }
        arguments.extend(args);
        let mut command = cli::command(&self.data_dir(), &self.home(), &arguments);
        let child = command
            // A pool of its own has only who asks for it by `--storage`.
            .env("BHATTI_STORAGE", "plain")
            // And networks, which would outlive a daemon that is killed, has who asks for them.
            .env("BHATTI_NETWORK", "off")
            .stdout(log.try_clone().expect("a descriptor can be cloned"))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("bhatti starts");
        self.child = Some(child);
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// What holds its machines: the data directory, or its pool.
    pub fn storage(&self) -> PathBuf {
        let data = self.data_dir();
        if data.join("pool.img").exists() {
            data.join("pool")
        } else {
            data
        }
    }

    /// The home directory of the command line.
    pub fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    /// The daemon's log.
    pub fn log(&self) -> PathBuf {
        self.root.path().join("serve.log")
    }

    /// URL of the API over TCP, if the daemon was started with `--listen 127.0.0.1:0`: the port
    /// that the system chose is in its log.
    ///
    /// # Panics
    /// If the log names none.
    pub fn url(&self) -> String {
        const HOST: &str = "127.0.0.1:";
        let log = read(&self.log());
        let port = log
            .rmatch_indices(HOST)
            .map(|(at, _)| &log[at + HOST.len()..])
            .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
            .find_map(|port| port?.parse::<u16>().ok().filter(|port| *port != 0));
        let port = port.expect("the log says where the daemon listens");
        format!("http://{HOST}{port}")
    }

    /// The daemon's unix socket.
    pub fn socket(&self) -> PathBuf {
        self.data_dir().join("bhatti.sock")
    }

    /// A client on the unix socket.
    pub fn client(&self) -> Client {
        Client::new(Endpoint::Unix(self.socket()), None)
    }

    /// Runs the command line.
    pub async fn cli(&self, args: &[&str]) -> CliOutput {
        cli::run(&self.data_dir(), &self.home(), args, b"").await
    }

    /// Runs the command line with standard input.
    pub async fn cli_with(&self, args: &[&str], stdin: &[u8]) -> CliOutput {
        cli::run(&self.data_dir(), &self.home(), args, stdin).await
    }

    /// A command line that the test drives itself.
    pub fn cli_command(&self, args: &[&str]) -> tokio::process::Command {
        cli::command(&self.data_dir(), &self.home(), args)
    }

    /// Ends the daemon as `kill -9` does.
    ///
    /// # Panics
    /// If there is none.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("a daemon is running");
        child.kill().await.expect("the daemon can be ended");
    }

    /// The daemon's process.
    ///
    /// # Panics
    /// If there is none.
    pub fn pid(&self) -> u32 {
        let child = self.child.as_ref().expect("a daemon is running");
        child.id().expect("the daemon has not ended")
    }

    /// Asks the daemon to stop and waits for its end.
    ///
    /// # Panics
    /// If there is none, or it does not end.
    pub async fn stop(&mut self) -> ExitStatus {
        let child = self.child.as_ref().expect("a daemon is running");
        let pid = child
            .id()
            .and_then(|id| rustix::process::Pid::from_raw(id as i32));
        let pid = pid.expect("the daemon has not ended");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("the daemon can be signalled");
        self.ended().await
    }

    /// Waits for the daemon to end by itself.
    ///
    /// # Panics
    /// If there is none, or it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a daemon is running");
        let status = tokio::time::timeout(STOP_LIMIT, child.wait()).await;
        status
            .expect("the daemon ends in time")
            .expect("the daemon can be waited for")
    }

    /// The VMM processes of this data directory.
    ///
    /// # Panics
    /// If the table of processes can't be read.
    pub async fn machines(&self) -> Vec<Found> {
        let Some(id) = self.id() else {
            return Vec::new();
        };
        let qemu = Qemu::new("qemu-system-x86_64".into());
        qemu.find(&id, &self.data_dir())
            .await
            .expect("the table of processes can be read")
    }

    /// What is there, as seen from outside.
    pub async fn inventory(&self) -> Inventory {
        let mut machines: Vec<_> = self
            .machines()
            .await
            .into_iter()
            .map(|found| found.sandbox.to_string())
            .collect();
        machines.sort();
        Inventory {
            sandboxes: names(&self.storage().join("sandboxes")),
            snapshots: names(&self.storage().join("snapshots")),
            templates: names(&self.storage().join("templates")),
            machines,
        }
    }

    /// Unmounts the pool once nothing uses it any more: what was killed takes a moment to end.
    fn release_pool(&self) {
        let until = Instant::now() + RELEASE_LIMIT;
        while let Err(error) = release(&self.data_dir()) {
            if Instant::now() > until {
                #[expect(clippy::print_stderr, reason = "somebody has to unmount it by hand")]
                {
                    eprintln!("{} stays mounted: {error:?}", self.storage().display());
                }
                return;
            }
            std::thread::yield_now();
        }
    }

    fn id(&self) -> Option<DataDirId> {
        fs_err::read_to_string(self.data_dir().join("id"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            let _ = child.start_kill();
        }
        if let Some(id) = self.id() {
            let mark = bhatti_vmm::qemu::arguments::mark(&id);
            for found in find_by_argument(&mark).unwrap_or_default() {
                if let Some(pid) = rustix::process::Pid::from_raw(found.id.pid as i32) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
        }
        if self.data_dir().join("pool.img").exists() {
            self.release_pool();
        }
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the log tells why the test failed")]
            {
                eprintln!("--- the daemon's log ---\n{}", read(&self.log()));
            }
        }
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs_err::read_dir(dir) else {
        return BTreeSet::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

fn read(path: &Path) -> String {
    fs_err::read_to_string(path).unwrap_or_default()
}
