//! Processes that do one piece of work for this one and talk about it over a socket: both ends.
//!
//! The socket is the worker's standard input. Messages are lines; files are sent open, so that the
//! worker needs no path.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

/// The longest message, in bytes.
const LINE_MAX: u64 = 64 << 10;
/// How much of what a worker writes to its standard error is kept for the log, in bytes.
const STDERR_KEPT: u64 = 4096;
/// A worker that is asked to end, or was killed, is gone after this.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How a worker is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerProgram {
    /// The program.
    pub program: PathBuf,
    /// Arguments that make it a worker.
    pub args: Vec<OsString>,
}

/// A worker of this process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Worker {
    child: tokio::process::Child,
    lines: tokio::io::BufReader<tokio::net::unix::OwnedReadHalf>,
    writer: tokio::net::unix::OwnedWriteHalf,
}

/// How a worker ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Such as `exit status: 0`.
    pub status: String,
    /// The beginning of what it wrote to standard error, for the log.
    pub stderr: String,
}

impl Worker {
    /// Starts a worker and sends it files, in this order, with the first message.
    pub fn start(
        program: &WorkerProgram,
        files: &[BorrowedFd<'_>],
        message: &str,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let child = tokio::process::Command::new(&program.program)
            .args(&program.args)
            .env_clear()
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        // All of it fits into the socket's buffer, so this does not wait for the worker.
        ours.set_nonblocking(true)?;
        send_files(&ours, files)?;
        (&ours).write_all(format!("{message}\n").as_bytes())?;
        let (reader, writer) = tokio::net::UnixStream::from_std(ours)?.into_split();
        Ok(Self {
            child,
            lines: tokio::io::BufReader::new(reader),
            writer,
        })
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &str) -> io::Result<()> {
        let line = format!("{message}\n");
        self.writer.write_all(line.as_bytes()).await
    }

    /// The next message of the worker; nothing when it has closed the socket. Not cancel-safe.
    pub async fn receive(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let mut bounded = (&mut self.lines).take(LINE_MAX);
        match bounded.read_line(&mut line).await {
            // It has ended without having read all that was sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            read => read?,
        };
        if line.is_empty() {
            return Ok(None);
        }
        // Cut off by the limit or by the end of the worker: in both cases it is no message.
        match line.strip_suffix('\n') {
            Some(line) => Ok(Some(line.to_owned())),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Waits for the end of a worker that has nothing to do any more, or kills it.
    pub async fn end(mut self) -> io::Result<Ended> {
        drop(self.writer);
        let stderr = self.child.stderr.take();
        let said = async {
            let mut text = Vec::new();
            if let Some(stderr) = stderr {
                stderr.take(STDERR_KEPT).read_to_end(&mut text).await?;
            }
            Ok::<_, io::Error>(String::from_utf8_lossy(&text).trim().to_owned())
        };
        let ended = tokio::time::timeout(END_LIMIT, async {
            let stderr = said.await?;
            Ok::<_, io::Error>((self.child.wait().await?, stderr))
        });
        let (status, stderr) = if let Ok(ended) = ended.await {
            ended?
        } else {
            self.child.kill().await?;
            (self.child.wait().await?, String::new())
        };
        Ok(Ended {
            status: status.to_string(),
            stderr,
        })
    }
}

/// Each file with a byte of its own, for a byte is what carries it.
fn send_files(socket: &UnixStream, files: &[BorrowedFd<'_>]) -> io::Result<()> {
    for file in files {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let file = [*file];
        if !control.push(SendAncillaryMessage::ScmRights(&file)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
        let byte = IoSlice::new(b"f");
        rustix::net::sendmsg(socket, &[byte], &mut control, SendFlags::NOSIGNAL)?;
    }
    io::Write::write_all(&mut &*socket, b"\n")
}

/// The worker's end of the socket.
#[derive(Debug)]
pub struct Master {
    lines: BufReader<UnixStream>,
}

impl Master {
    /// The socket that this process has as standard input; nothing if it has another one, because
    /// it was not started as a worker.
    pub fn of_standard_input() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&stdin)?.st_mode);
        if kind != rustix::fs::FileType::Socket {
            return Ok(None);
        }
        let socket = UnixStream::from(stdin.as_fd().try_clone_to_owned()?);
        Ok(Some(Self {
            lines: BufReader::new(socket),
        }))
    }

    /// The files that come before the first message. To be called before anything else.
    pub fn files(&mut self) -> io::Result<Vec<OwnedFd>> {
        let mut files = Vec::new();
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let mut buffer = [IoSliceMut::new(&mut byte)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let socket = self.lines.get_ref();
            let received = rustix::net::recvmsg(socket, &mut buffer, &mut control, flags)?;
            let before = files.len();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    files.extend(received);
                }
            }
            match (received.bytes, byte) {
                (1, [b'\n']) => return Ok(files),
                (1, [b'f']) if files.len() == before + 1 => {}
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }

    /// The next message; an error when there is nobody any more.
    pub fn receive(&mut self) -> io::Result<String> {
        let mut line = String::new();
        (&mut self.lines).take(LINE_MAX).read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Sends a message.
    pub fn send(&mut self, message: &str) -> io::Result<()> {
        self.lines
            .get_mut()
            .write_all(format!("{message}\n").as_bytes())
    }
}
