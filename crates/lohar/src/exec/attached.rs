//! A command with a stream: its output goes there, and it lives as long as somebody wants it.
//!
//! ```text
//!              started                     exited, output sent
//!   (nothing) ─────────► ATTACHED ───────────────────────────────► over
//!                         │    │ link lost                          ▲
//!            stream reset │    └───────────► ORPHANED ──────────────┤ exited
//!                         ▼                     │ time is up        │
//!                       KILLED ◄────────────────┘  ─────────────────┘
//! ```
//!
//! An orphan's output is read and thrown away, so that it does not stop; its standard input
//! stays open.

use std::io;
use std::os::fd::AsFd as _;
use std::process::{ChildStderr, ChildStdout};
use std::time::Duration;

use bhatti_proto::codec::{self, MAX_CHUNK, MAX_MESSAGE, MessageReader};
use bhatti_proto::message::{Control, Exited, Reply, Started, control, reply};
use bytes::Bytes;
use futures::io::{AsyncReadExt as _, ReadHalf, WriteHalf};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use yamux::Stream;

use super::kill;
use super::registry::Place;
use crate::probe::Probe;
use crate::reaper::Ended;
use crate::sys;

/// How long a killed command may take to be gone. A process that hangs in the kernel (a dead
/// network disk) is reported as ended all the same.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A command that was started, with our ends of its pipes.
pub(crate) struct Attached {
    pub(crate) pid: u32,
    pub(crate) outputs: Outputs,
    pub(crate) ended: oneshot::Receiver<Ended>,
    pub(crate) deadline: Option<Instant>,
    pub(crate) place: Place,
    /// Cancelled when the agent stops.
    pub(crate) stop: CancellationToken,
}

/// Our ends of a command's output pipes; `None` once at their end.
pub(crate) struct Outputs {
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
}

/// Why a command is looked after no more.
enum Verdict {
    /// Nobody wants it: the stream was reset, or the agent stops.
    Unwanted,
    /// The link is lost; it lives on.
    Orphaned,
}

/// Looks after a command until it is over.
pub(crate) async fn run(attached: Attached, stream: Stream, probe: Probe) {
    let Attached {
        pid,
        mut outputs,
        mut ended,
        deadline,
        place,
        stop,
    } = attached;
    let (reader, mut writer) = stream.split();
    let mut life = Life {
        pid,
        ended: &mut ended,
        exit: None,
        deadline,
        timed_out: false,
        killed: false,
    };
    let started = Reply::new(reply::Op::Started(Started {
        pid,
        exec: place.id(),
    }));
    // If it fails the stream has ended, which is noticed below.
    let _ = codec::write(&mut writer, &started, MAX_MESSAGE).await;
    let (tell, told) = oneshot::channel();
    let verdict = tokio::select! {
        exited = pump(&mut outputs, &mut writer, told) => {
            // The command is over before its end is heard, for whoever hears it may count.
            drop(place);
            finish(exited, writer).await;
            return outputs.drain(&stop).await;
        }
        verdict = supervise(&mut life, reader, tell, &probe, &stop) => verdict,
    };
    drop(writer);
    if life.exit.is_none() {
        tokio::select! {
            () = life.end_after(&verdict, &stop) => {}
            () = outputs.drain_for_ever() => {}
        }
    }
    drop(place);
    outputs.drain(&stop).await;
}

/// The life of the process.
struct Life<'a> {
    pid: u32,
    ended: &'a mut oneshot::Receiver<Ended>,
    exit: Option<Exited>,
    deadline: Option<Instant>,
    timed_out: bool,
    killed: bool,
}

impl Life<'_> {
    /// Waits for the process to end, and ends it when its time is up. Cancel-safe.
    async fn end(&mut self) -> Exited {
        loop {
            if let Some(exit) = self.exit {
                return exit;
            }
            tokio::select! {
                biased;
                ended = &mut *self.ended => self.exit = Some(self.exited(ended.ok())),
                () = sleep_until(self.deadline.unwrap_or_else(Instant::now)),
                    if self.deadline.is_some() => self.time_is_up(),
            }
        }
    }

    /// Waits for the process to end when nobody hears of it.
    async fn end_after(&mut self, verdict: &Verdict, stop: &CancellationToken) {
        if let Verdict::Orphaned = verdict {
            tokio::select! {
                _ = self.end() => return,
                () = stop.cancelled() => {}
            }
        }
        self.kill();
        self.end().await;
    }

    fn time_is_up(&mut self) {
        if self.killed {
            self.exit = Some(self.exited(None));
        } else {
            self.timed_out = true;
            self.kill();
        }
    }

    fn kill(&mut self) {
        kill::session(self.pid);
        self.killed = true;
        self.deadline = Some(Instant::now() + KILL_LIMIT);
    }

    fn exited(&self, ended: Option<Ended>) -> Exited {
        Exited {
            timed_out: self.timed_out,
            ..Ended::told(ended)
        }
    }
}

/// Watches over the process and its stream. Comes back when the stream has ended.
async fn supervise(
    life: &mut Life<'_>,
    reader: ReadHalf<Stream>,
    tell: oneshot::Sender<Exited>,
    probe: &Probe,
    stop: &CancellationToken,
) -> Verdict {
    let mut tell = Some(tell);
    let mut messages = MessageReader::new(reader, MAX_MESSAGE);
    loop {
        tokio::select! {
            biased;
            exited = life.end(), if tell.is_some() => {
                if let Some(tell) = tell.take() {
                    // The pump hears it unless its stream has failed, which ends it here too.
                    let _ = tell.send(exited);
                }
            }
            message = messages.next::<Control>() => match message {
                Ok(Some(Control { op: Some(control::Op::Signal(signal)) })) => {
                    if life.exit.is_none() && (1..=sys::MAX_SIGNAL).contains(&signal) {
                        sys::kill_group(life.pid, signal);
                    }
                }
                // A kind of message that is newer than this agent.
                Ok(Some(Control { op: None })) => {}
                Ok(None) | Err(_) => {
                    return if probe.is_up().await { Verdict::Unwanted } else { Verdict::Orphaned };
                }
            },
            () = stop.cancelled() => return Verdict::Unwanted,
        }
    }
}

/// Carries output to the stream until the process has ended and all that it wrote is sent.
///
/// Other processes may hold the pipes open beyond that; what they write is not waited for. Never
/// comes back if the stream fails: that is for [`supervise`] to judge.
async fn pump(
    outputs: &mut Outputs,
    writer: &mut WriteHalf<Stream>,
    told: oneshot::Receiver<Exited>,
) -> Exited {
    match pump_until_exit(outputs, writer, told).await {
        Ok(exited) => exited,
        Err(_) => std::future::pending().await,
    }
}

async fn pump_until_exit(
    outputs: &mut Outputs,
    writer: &mut WriteHalf<Stream>,
    mut told: oneshot::Receiver<Exited>,
) -> io::Result<Exited> {
    let exited = loop {
        tokio::select! {
            exited = &mut told => break exited.map_err(io::Error::other)?,
            chunk = outputs.next() => codec::write(writer, &chunk, MAX_MESSAGE).await?,
        }
    };
    for chunk in outputs.rest()? {
        codec::write(writer, &chunk, MAX_MESSAGE).await?;
    }
    Ok(exited)
}

async fn finish(exited: Exited, mut writer: WriteHalf<Stream>) {
    use futures::io::AsyncWriteExt as _;
    let message = Reply::new(reply::Op::Exited(exited));
    if codec::write(&mut writer, &message, MAX_MESSAGE)
        .await
        .is_ok()
    {
        // The daemon may have closed its end already, having heard all it wanted.
        let _ = writer.close().await;
    }
}

impl Outputs {
    /// Takes our ends of the pipes. Needs a tokio runtime with I/O.
    pub(crate) fn new(
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
    ) -> io::Result<Self> {
        Ok(Self {
            stdout: stdout
                .map(|pipe| pipe::Receiver::from_owned_fd(pipe.into()))
                .transpose()?,
            stderr: stderr
                .map(|pipe| pipe::Receiver::from_owned_fd(pipe.into()))
                .transpose()?,
        })
    }

    /// The next piece of output. Waits for ever once both pipes are at their end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Reply {
        loop {
            let op: fn(Bytes) -> reply::Op;
            let (pipe, read) = tokio::select! {
                read = read_some(self.stdout.as_ref()) => {
                    op = reply::Op::Stdout;
                    (&mut self.stdout, read)
                }
                read = read_some(self.stderr.as_ref()) => {
                    op = reply::Op::Stderr;
                    (&mut self.stderr, read)
                }
            };
            match read {
                Ok(bytes) if !bytes.is_empty() => return Reply::new(op(bytes)),
                // At its end; a pipe that cannot be read is as good.
                _ => *pipe = None,
            }
        }
    }

    /// What the pipes hold now, without waiting for more.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<Reply>> {
        let mut rest = Vec::new();
        for bytes in held_by(self.stdout.as_ref())? {
            rest.push(Reply::new(reply::Op::Stdout(bytes)));
        }
        for bytes in held_by(self.stderr.as_ref())? {
            rest.push(Reply::new(reply::Op::Stderr(bytes)));
        }
        Ok(rest)
    }

    /// Reads and throws away, until both pipes are at their end: other processes that hold them
    /// must not die of writing.
    async fn drain(mut self, stop: &CancellationToken) {
        while self.stdout.is_some() || self.stderr.is_some() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = discard(&mut self.stdout), if self.stdout.is_some() => {}
                () = discard(&mut self.stderr), if self.stderr.is_some() => {}
            }
        }
    }

    /// As [`Outputs::drain`], but does not come back.
    async fn drain_for_ever(&mut self) {
        loop {
            drop(self.next().await);
        }
    }
}

/// What a pipe holds now, in pieces. Not until its end: a process that lives on might write for
/// ever.
fn held_by(pipe: Option<&pipe::Receiver>) -> io::Result<Vec<Bytes>> {
    let mut held = Vec::new();
    let Some(pipe) = pipe else { return Ok(held) };
    let mut left = sys::bytes_in(pipe.as_fd())?;
    while left > 0 {
        let mut chunk = vec![0; left.min(MAX_CHUNK)];
        // Not by tokio, which may not have heard yet that there is something.
        match nix::unistd::read(pipe, &mut chunk) {
            Ok(read @ 1..) => {
                chunk.truncate(read);
                left -= read;
                held.push(chunk.into());
            }
            Ok(0) | Err(_) => break,
        }
    }
    Ok(held)
}

/// Reads what is there, waiting until something is. Empty at the end. Cancel-safe.
async fn read_some(pipe: Option<&pipe::Receiver>) -> io::Result<Bytes> {
    let Some(pipe) = pipe else {
        return std::future::pending().await;
    };
    loop {
        // The buffer is made when there is something for it: most commands are quiet.
        pipe.readable().await?;
        let mut chunk = vec![0; MAX_CHUNK];
        match pipe.try_read(&mut chunk) {
            Ok(read) => {
                chunk.truncate(read);
                return Ok(chunk.into());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads once and throws it away; `None` at the end.
async fn discard(pipe: &mut Option<pipe::Receiver>) {
    if !matches!(read_some(pipe.as_ref()).await, Ok(bytes) if !bytes.is_empty()) {
        *pipe = None;
    }
}
