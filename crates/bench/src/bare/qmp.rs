//! QEMU's control protocol, as little of it as is needed.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bhatti_host::process::Process;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::UnixStream;

/// How long QEMU may take to open its socket, and to answer.
const LIMIT: Duration = Duration::from_mins(1);
/// Pause between two looks for the socket: little against the 30 ms QEMU takes to open it.
const LOOK_AGAIN: Duration = Duration::from_micros(250);

/// A connection to QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
    line: String,
}

impl Qmp {
    /// Waits for the socket of a QEMU that was just started, and leaves negotiation mode.
    pub(crate) async fn connect(socket: &Path, process: &Process) -> anyhow::Result<Self> {
        let connect = async {
            loop {
                match UnixStream::connect(socket).await {
                    Ok(stream) => return Ok(stream),
                    Err(_) if !process.has_ended() => tokio::time::sleep(LOOK_AGAIN).await,
                    Err(error) => return Err(error),
                }
            }
        };
        let stream = tokio::time::timeout(LIMIT, connect)
            .await
            .context("QEMU did not open its control socket")?
            .context("QEMU has ended")?;
        let mut qmp = Self {
            stream: BufReader::new(stream),
            line: String::new(),
        };
        qmp.read().await?;
        qmp.run("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    /// Runs a command.
    pub(crate) async fn run(&mut self, command: &str, arguments: Value) -> anyhow::Result<Value> {
        self.run_with(command, arguments, None).await
    }

    /// Runs a command and hands over a file with it.
    pub(crate) async fn run_with(
        &mut self,
        command: &str,
        arguments: Value,
        file: Option<BorrowedFd<'_>>,
    ) -> anyhow::Result<Value> {
        let request = json!({ "execute": command, "arguments": arguments });
        self.send(&format!("{request}\n"), file).await?;
        loop {
            let answer = self.read().await?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {error}");
            }
            // All else is an event.
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    /// Sends a request in one piece. It is far smaller than the socket's buffer.
    async fn send(&self, request: &str, file: Option<BorrowedFd<'_>>) -> anyhow::Result<()> {
        let stream = self.stream.get_ref();
        let files = file.into_iter().collect::<Vec<_>>();
        let send = || {
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !files.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(&files));
            }
            let parts = [std::io::IoSlice::new(request.as_bytes())];
            rustix::net::sendmsg(stream.as_fd(), &parts, &mut ancillary, SendFlags::NOSIGNAL)
                .map_err(Into::into)
        };
        let sent = stream.async_io(tokio::io::Interest::WRITABLE, send).await?;
        if sent != request.len() {
            bail!("QEMU's control socket took only a part of a request");
        }
        Ok(())
    }

    async fn read(&mut self) -> anyhow::Result<Value> {
        self.line.clear();
        let read = self.stream.read_line(&mut self.line);
        let length = tokio::time::timeout(LIMIT, read)
            .await
            .context("QEMU did not answer")??;
        if length == 0 {
            bail!("QEMU closed its control socket");
        }
        Ok(serde_json::from_str(&self.line)?)
    }
}
