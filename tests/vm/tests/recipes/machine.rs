//! A machine of a recipe's image, with its daemon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bhatti_api::exec::ExecRequest;
use bhatti_api::sandbox::CreateSandbox;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::stream;
use bhatti_testing::wait::wait_for;

/// Time for something to begin to answer: large programs start slowly under software emulation.
pub(crate) const START_LIMIT: Duration = Duration::from_mins(4);
/// The same, as a limit of one command, in seconds.
const LINE_LIMIT_SEC: u64 = 240;

/// A daemon and a machine in it that goes by its recipe's name.
pub(crate) struct Machine {
    pub(crate) daemon: Daemon,
    pub(crate) guest: Guest,
}

impl Machine {
    /// Boots a machine of a recipe's image, with two vCPUs.
    pub(crate) async fn start(recipe: &str, memory_mb: u64) -> Self {
        let daemon = Daemon::start_with_image(recipe).await;
        let new = CreateSandbox {
            name: Some(recipe.to_owned()),
            image: Some(recipe.to_owned()),
            cpus: Some(2.0),
            memory_mb: Some(memory_mb),
            ..CreateSandbox::default()
        };
        let client = daemon.client();
        let created = client.sandbox_create(&new).await;
        created.expect("a sandbox is created");
        let guest = Guest::new(client, recipe);
        Self { daemon, guest }
    }

    /// Starts a program that goes on, as the image's own user or as root.
    pub(crate) async fn spawn(&self, user: Option<&str>, cmd: &[&str]) {
        let request = ExecRequest {
            detach: true,
            stdin: false,
            ..request(user, cmd)
        };
        let client = self.guest.client();
        let started = client.exec_detached(self.guest.name(), &request).await;
        started.expect("a program is started");
    }

    /// What a shell line of the image's own user writes. It has to succeed.
    pub(crate) async fn sh(&self, line: &str) -> String {
        sh(&self.guest, line).await
    }

    /// Waits until such a line succeeds, and gives what it writes.
    pub(crate) async fn wait_for(&self, line: &str) -> String {
        wait_for(line, START_LIMIT, async || {
            let ran = run(&self.guest, &request(None, &["sh", "-c", line]), b"").await;
            if ran.exit.code == 0 {
                Ok(ran.text().trim_end().to_owned())
            } else {
                Err(ran)
            }
        })
        .await
    }

    /// Writes a file, as the image's own user.
    pub(crate) async fn write(&self, path: &str, content: &str) {
        let cmd = ["sh", "-c", "cat > \"$0\"", path];
        let ran = run(&self.guest, &request(None, &cmd), content.as_bytes()).await;
        assert_eq!(ran.exit.code, 0, "{path}: {ran:?}");
    }

    /// Puts it to disk; the next request wakes it.
    pub(crate) async fn sleep(&self) {
        let client = self.guest.client();
        let stopped = client.sandbox_stop(self.guest.name()).await;
        assert_eq!(stopped.expect("the sandbox stops").thermal, "cold");
    }
}

/// What a shell line of the image's own user writes in a machine. It has to succeed.
pub(crate) async fn sh(guest: &Guest, line: &str) -> String {
    let ran = run(guest, &request(None, &["sh", "-c", line]), b"").await;
    assert_eq!(ran.exit.code, 0, "{}: {line}: {ran:?}", guest.name());
    ran.text().trim_end().to_owned()
}

pub(crate) fn request(user: Option<&str>, cmd: &[&str]) -> ExecRequest {
    ExecRequest {
        cmd: cmd.iter().map(|arg| (*arg).to_owned()).collect(),
        user: user.map(str::to_owned),
        timeout_sec: Some(LINE_LIMIT_SEC),
        stdin: true,
        ..ExecRequest::default()
    }
}

pub(crate) async fn run(guest: &Guest, request: &ExecRequest, stdin: &[u8]) -> stream::Streamed {
    let ran = stream::run(guest.client(), guest.name(), request, stdin).await;
    ran.unwrap_or_else(|error| panic!("{}: {request:?}: {error:?}", guest.name()))
}

/// A file below cargo's target directory that a person may look at after the test.
pub(crate) fn artifact(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../artifacts");
    fs_err::create_dir_all(&dir).expect("a directory can be made");
    dir.join(name)
}
