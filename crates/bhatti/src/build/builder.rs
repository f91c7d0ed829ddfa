//! The machine that builds, and what runs in it.

use std::io::{self, Write as _};

use bhatti_api::exec::ExecRequest;
use bhatti_api::sandbox::CreateSandbox;
use bhatti_client::client::Client;
use bhatti_client::exec::{ExecInput, ExecStep};
use bhatti_client::images::Archive;
use bhatti_types::name::{ImageName, SandboxName};
use bytes::Bytes;
use http::StatusCode;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::SyncIoBridge;

use super::context::BuildContext;
use super::from::references;
use crate::failure::Failure;
use crate::pump::{Sink, pump_from};

/// The image of the machine, and its name unless another is asked for.
pub(crate) const BUILDER: &str = "builder";
/// Its vCPUs and its memory: compilers run in it.
const SIZE: (f64, u64) = (2.0, 2048);
/// Builds an image of what is on standard input.
const BUILD: &str = include_str!("build.sh");
/// Takes an image that is on standard input.
const LOAD: &str = include_str!("load.sh");
/// Takes an image that was taken before.
const TAG: &str = "buildah tag \"localhost/bhatti-from/$1\" \"$2\"";
/// What is on its way from the directory to the machine, in bytes.
const BUFFER: usize = 1 << 20;

/// A machine that builds.
pub(crate) struct Builder {
    client: Client,
    sandbox: String,
}

/// What is built, and how.
pub(crate) struct Build {
    /// The image's name.
    pub(crate) name: ImageName,
    /// Options of `buildah build`.
    pub(crate) options: Vec<String>,
    /// Time limit, in seconds.
    pub(crate) timeout_sec: u64,
}

impl Builder {
    /// The machine of this name. It is made if there is none, and woken by what runs in it.
    pub(crate) async fn find(client: Client, name: &SandboxName) -> Result<Self, Failure> {
        let sandbox = name.to_string();
        match client.sandbox_get(&sandbox).await {
            Ok(there) if there.image == BUILDER => {}
            Ok(there) => {
                return Err(Failure::Said {
                    message: format!(
                        "sandbox \"{sandbox}\" is of the image {}, and cannot build",
                        there.image
                    ),
                    hint: Some(
                        "name another one with --builder; it is made if it is not there".to_owned(),
                    ),
                });
            }
            Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => {
                make(&client, &sandbox).await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Self { client, sandbox })
    }

    /// Takes those images that a build begins with and that bhatti has, unless they were taken
    /// before. The build looks for the others in registries.
    pub(crate) async fn load(&self, context: &BuildContext) -> Result<(), Failure> {
        for reference in references(&context.containerfile) {
            let Ok(name) = reference.parse::<ImageName>() else {
                continue;
            };
            let image = match self.client.image_get(name.as_str()).await {
                Ok(image) => image,
                Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => continue,
                Err(error) => return Err(error.into()),
            };
            let id = image.id.clone();
            let tag = request(TAG, &[&id, &reference]);
            if self.client.exec(&self.sandbox, &tag).await?.exit_code == 0 {
                continue;
            }
            let archive = self.client.image_export(name.as_str()).await?;
            self.send(archive, &id, &reference).await?;
        }
        Ok(())
    }

    async fn send(&self, mut archive: Archive, id: &str, reference: &str) -> Result<(), Failure> {
        let request = ExecRequest {
            stdin: true,
            ..request(LOAD, &[id, reference])
        };
        let (mut input, mut output) = self.client.exec_start(&self.sandbox, &request).await?;
        let mut feed = async |input: &mut ExecInput| -> Result<(), Failure> {
            while let Some(piece) = archive.next().await? {
                input.stdin(&piece).await?;
            }
            Ok(input.stdin_end().await?)
        };
        feed(&mut input).await?;
        let mut said = Vec::new();
        loop {
            match output.next().await? {
                ExecStep::Stdout(_) => {}
                ExecStep::Stderr(bytes) => said = bytes.to_vec(),
                ExecStep::Exit(exit) if exit.code == 0 => return Ok(()),
                ExecStep::Exit(_) => {
                    let said = String::from_utf8_lossy(&said);
                    let last = said.trim().lines().last().unwrap_or_default();
                    return Err(Failure::Said {
                        message: format!("the builder does not take image {reference}: {last}"),
                        hint: None,
                    });
                }
            }
        }
    }

    /// Builds, and writes the image to a file as an OCI archive. What the build says goes to
    /// standard error; signals go to the build.
    pub(crate) async fn build(
        &self,
        build: &Build,
        context: BuildContext,
        archive: &mut std::fs::File,
    ) -> Result<(), Failure> {
        let tag = tag(&build.name);
        let mut args = vec![tag.as_str()];
        args.extend(build.options.iter().map(String::as_str));
        let request = ExecRequest {
            stdin: true,
            timeout_sec: Some(build.timeout_sec),
            ..request(BUILD, &args)
        };
        let (near, far) = tokio::io::duplex(BUFFER);
        let mut near = SyncIoBridge::new(near);
        // It gives its end back, so that one that failed is not taken for a whole one.
        let writing = tokio::task::spawn_blocking(move || (context.write(&mut near), near));
        let failing = async {
            match writing.await {
                Ok((Ok(()), near)) => {
                    drop(near);
                    std::future::pending().await
                }
                Ok((Err(source), near)) => (Failure::Context { source }, Some(near)),
                Err(error) => {
                    let source = io::Error::other(error);
                    let what = "send the directory";
                    (Failure::Io { what, source }, None)
                }
            }
        };
        let mut sink = Output {
            archive,
            stderr: tokio::io::stderr(),
        };
        let exit = tokio::select! {
            // Of a build that ended before it had read everything, that is what counts.
            biased;
            exit = pump_from(&self.client, &self.sandbox, &request, far, &mut sink) => exit?,
            (failure, _near) = failing => return Err(failure),
        };
        if exit.timed_out {
            let seconds = build.timeout_sec;
            return Err(Failure::TimedOut { seconds });
        }
        if exit.code != 0 {
            return Err(Failure::Said {
                message: format!("the build failed (exit code {})", exit.code),
                hint: None,
            });
        }
        archive.flush().map_err(|source| Failure::Io {
            what: "write the image to a temporary file",
            source,
        })
    }
}

async fn make(client: &Client, sandbox: &str) -> Result<(), Failure> {
    let new = CreateSandbox {
        name: Some(sandbox.to_owned()),
        image: Some(BUILDER.to_owned()),
        cpus: Some(SIZE.0),
        memory_mb: Some(SIZE.1),
        ..CreateSandbox::default()
    };
    match client.sandbox_create(&new).await {
        Ok(_) => Ok(()),
        Err(error) if error.status() == Some(StatusCode::NOT_FOUND) => Err(Failure::Said {
            message: format!("there is no image \"{BUILDER}\" for a machine that builds"),
            hint: Some(format!(
                "make it with `bhatti image build --recipe {BUILDER}` on the daemon's host"
            )),
        }),
        Err(error) => Err(error.into()),
    }
}

/// A script that root runs, with its arguments.
fn request(script: &str, args: &[&str]) -> ExecRequest {
    let cmd = ["sh", "-c", script, "bhatti-image-build"];
    ExecRequest {
        cmd: cmd
            .iter()
            .chain(args)
            .map(|arg| (*arg).to_owned())
            .collect(),
        user: Some("root".to_owned()),
        ..ExecRequest::default()
    }
}

/// What the image is called in the builder, where names are of lower case. Two that become the same
/// take each other's place, which costs neither its cache.
fn tag(name: &ImageName) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | ':') => c,
        _ => '-',
    };
    let tag: String = name.as_str().chars().map(plain).collect();
    tag.replace("-:", ":")
        .replace(":-", ":")
        .trim_matches('-')
        .to_owned()
}

/// The archive to a file, what the build says to standard error.
struct Output<'a> {
    archive: &'a mut std::fs::File,
    stderr: tokio::io::Stderr,
}

impl Sink for Output<'_> {
    async fn stdout(&mut self, bytes: Bytes) -> Result<(), Failure> {
        // Into the page cache, piece by piece.
        self.archive
            .write_all(&bytes)
            .map_err(|source| Failure::Io {
                what: "write the image to a temporary file",
                source,
            })
    }

    async fn stderr(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let written = async {
            self.stderr.write_all(&bytes).await?;
            self.stderr.flush().await
        };
        written.await.map_err(|source| Failure::Stderr { source })
    }
}

#[cfg(test)]
mod test {
    use super::tag;

    #[test]
    fn a_name_becomes_one_that_buildah_takes() {
        for (name, expected) in [("app:2", "app:2"), ("My_App.x", "my-app-x"), ("a-", "a")] {
            assert_eq!(tag(&name.parse().unwrap()), expected);
        }
    }
}
