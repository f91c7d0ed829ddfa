//! The command line in a clean environment.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use crate::artifacts;

/// Longest time a command may take.
const LIMIT: Duration = Duration::from_mins(5);

/// What a command did.
#[derive(Debug, Clone)]
#[must_use]
pub struct CliOutput {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

impl CliOutput {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output of a command that has to succeed.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn success(self) -> String {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.text(),
            self.errors()
        );
        self.text()
    }
}

/// The command, not yet run: its own home, an empty environment, piped streams.
pub fn command(data_dir: &Path, home: &Path, args: &[&str]) -> tokio::process::Command {
    let mut command = at_home(home);
    command.arg("--data-dir").arg(data_dir).args(args);
    command
}

fn at_home(home: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(artifacts::program());
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs it with this standard input.
///
/// # Panics
/// If it can't be started, or takes longer than five minutes.
pub async fn run(data_dir: &Path, home: &Path, args: &[&str], stdin: &[u8]) -> CliOutput {
    finish(command(data_dir, home, args), stdin).await
}

/// The same for somebody who knows the daemon only by what is configured in their home.
///
/// # Panics
/// As [`run`] does.
pub async fn run_at_home(home: &Path, args: &[&str], stdin: &[u8]) -> CliOutput {
    let mut command = at_home(home);
    command.args(args);
    finish(command, stdin).await
}

async fn finish(mut command: tokio::process::Command, stdin: &[u8]) -> CliOutput {
    if !stdin.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command.spawn().expect("bhatti starts");
    let input = child.stdin.take();
    let write = async {
        if let Some(mut input) = input {
            // The command may end before it has read all.
            let _ = input.write_all(stdin).await;
        }
    };
    let (output, ()) = tokio::join!(tokio::time::timeout(LIMIT, child.wait_with_output()), write);
    let output = output
        .expect("bhatti ends in time")
        .expect("bhatti's output is read");
    CliOutput {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: output.stderr,
    }
}
