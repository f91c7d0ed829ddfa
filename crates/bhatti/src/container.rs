//! Docker or Podman on this machine, for images to be taken from.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::failure::Failure;

/// The programs, in the order in which they are asked.
const PROGRAMS: [&str; 2] = ["docker", "podman"];
/// Time for one to say whether it has an image. A daemon behind it may have to start first.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// Most of what one says on its standard error that is repeated, in bytes.
const MAX_SAID: u64 = 4 << 10;

/// A program that has the image.
#[derive(Debug)]
pub(crate) struct Container {
    program: &'static str,
}

/// An image on its way out. Dropped, the program is killed.
#[derive(Debug)]
pub(crate) struct Saving {
    program: &'static str,
    child: Child,
}

impl Container {
    /// The first program that is there and has the image.
    pub(crate) async fn find(image: &str) -> Result<Self, Failure> {
        let mut there = Vec::new();
        for program in PROGRAMS {
            let mut command = Command::new(program);
            // With `--`, an image's name is never taken for a flag.
            command
                .args(["image", "inspect", "--"])
                .arg(image)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true);
            match timeout(LOOK_LIMIT, command.status()).await {
                Ok(Ok(status)) if status.success() => return Ok(Self { program }),
                Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {}
                // Does not have it, does not answer, or may not be asked.
                Ok(_) | Err(_) => there.push(program),
            }
        }
        let hint = "give an archive with --tar, or pull it from a registry: `bhatti image pull`";
        let message = match there.as_slice() {
            [] => "neither Docker nor Podman is installed here".to_owned(),
            [one] => format!("{one} has no image {image:?} here"),
            _ => format!("neither docker nor podman has an image {image:?} here"),
        };
        Err(Failure::Said {
            message,
            hint: Some(hint.to_owned()),
        })
    }

    /// Begins to write the image to a pipe.
    pub(crate) fn save(&self, image: &str) -> Result<Saving, Failure> {
        let child = Command::new(self.program)
            .args(["save", "--"])
            .arg(image)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Failure::Io {
                what: "start `docker save`",
                source,
            })?;
        Ok(Saving {
            program: self.program,
            child,
        })
    }
}

impl Saving {
    /// What it writes. To be asked for once.
    pub(crate) fn output(&mut self) -> Result<ChildStdout, Failure> {
        self.child.stdout.take().ok_or_else(|| Failure::Io {
            what: "read from `docker save`",
            source: io::ErrorKind::BrokenPipe.into(),
        })
    }

    /// Waits for its end after its output has ended; an error if it failed.
    pub(crate) async fn end(mut self) -> io::Result<()> {
        let mut said = String::new();
        if let Some(stderr) = self.child.stderr.take() {
            // What can't be read is not worth a failure of its own.
            let _ = stderr.take(MAX_SAID).read_to_string(&mut said).await;
        }
        let status = self.child.wait().await?;
        if status.success() {
            return Ok(());
        }
        let last = said.lines().last().unwrap_or_default();
        Err(io::Error::other(format!(
            "`{} save` failed ({status}): {last}",
            self.program
        )))
    }
}
