//! One program with its terminal, and who is attached to it.
//!
//! A task reads what the program writes, keeps the last of it, and hands it to whoever is attached
//! through a bounded queue: a terminal that nobody draws holds its program up, as a real one does.
//! Nobody attached holds nothing up.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bhatti_proto::codec::{self, MAX_MESSAGE, MessageReader};
use bhatti_proto::message::{Exited, Reply, reply};
use bhatti_proto::terminal::{
    Attached, Session as SessionMessage, TakenOver, TerminalInput, terminal_input,
};
use bytes::Bytes;
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use yamux::Stream;

use super::pty::Pty;
use super::scrollback::Scrollback;
use crate::exec::kill;
use crate::reaper::Ended;

/// Pieces of output that may wait for whoever is attached.
const QUEUE: usize = 8;
/// How long output is waited for after the program has ended: others may hold its terminal open.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: String,
    argv: Vec<String>,
    pid: u32,
    created: SystemTime,
    pty: Pty,
    /// It ends when whoever began it goes.
    ephemeral: bool,
    state: Mutex<State>,
    /// How its program ended, once all that it wrote is handed on.
    exit: watch::Sender<Option<Exited>>,
}

#[derive(Debug, Default)]
struct State {
    scrollback: Scrollback,
    viewer: Option<Viewer>,
    /// Counts who attached.
    attached: u64,
}

#[derive(Debug)]
struct Viewer {
    number: u64,
    output: mpsc::Sender<Bytes>,
    taken_over: CancellationToken,
}

/// Whoever is attached, from its own end. The place is free again when it is dropped.
struct Place {
    session: Arc<Session>,
    number: u64,
    output: mpsc::Receiver<Bytes>,
    taken_over: CancellationToken,
}

impl Session {
    pub(crate) fn new(
        id: String,
        argv: Vec<String>,
        pid: u32,
        pty: Pty,
        ephemeral: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            argv,
            pid,
            created: SystemTime::now(),
            pty,
            ephemeral,
            state: Mutex::default(),
            exit: watch::Sender::new(None),
        })
    }

    /// Its program has not ended.
    pub(crate) fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.state().viewer.is_some()
    }

    pub(crate) fn is_ephemeral(&self) -> bool {
        self.ephemeral
    }

    pub(crate) fn told(&self) -> SessionMessage {
        let since = self.created.duration_since(SystemTime::UNIX_EPOCH);
        SessionMessage {
            id: self.id.clone(),
            argv: self.argv.clone(),
            pid: self.pid,
            attached: self.is_attached(),
            created_unix_ms: since.unwrap_or_default().as_millis() as u64,
            exit: *self.exit.borrow(),
        }
    }

    pub(crate) fn kill(&self) {
        kill::session(self.pid);
    }

    /// Reads what the program writes until it has ended.
    pub(crate) async fn run(
        self: &Arc<Self>,
        mut ended: oneshot::Receiver<Ended>,
        stop: &CancellationToken,
    ) {
        let exit = tokio::select! {
            ended = &mut ended => ended.ok(),
            () = self.carry() => ended.await.ok(),
            () = stop.cancelled() => {
                self.kill();
                ended.await.ok()
            }
        };
        // The rest of what it wrote; who is attached and reads nothing is not waited for longer.
        let _ = timeout(DRAIN_LIMIT, self.carry()).await;
        self.exit.send_replace(Some(Ended::told(exit)));
        // What a closed terminal ends (`SIGHUP` of its session) is ended for good.
        self.kill();
    }

    /// Hands output on until nobody has the program's end open.
    async fn carry(&self) {
        loop {
            let bytes: Bytes = match self.pty.read().await {
                Ok(bytes) if !bytes.is_empty() => bytes.into(),
                Ok(_) | Err(_) => return,
            };
            let viewer = {
                let mut state = self.state();
                state.scrollback.push(&bytes);
                let viewer = state.viewer.as_ref();
                viewer.map(|viewer| (viewer.output.clone(), viewer.taken_over.clone()))
            };
            if let Some((output, taken_over)) = viewer {
                tokio::select! {
                    // It may be gone.
                    _ = output.send(bytes) => {}
                    () = taken_over.cancelled() => {}
                }
            }
        }
    }

    /// Carries a stream's keys and this session's output, until one of them ends.
    pub(crate) async fn attach(self: &Arc<Self>, stream: Stream, resumed: bool) {
        let (mut place, shown) = self.take_place();
        let (reader, mut writer) = stream.split();
        let attached = Reply::new(reply::Op::Attached(Attached {
            session: self.id.clone(),
            pid: self.pid,
            resumed,
        }));
        let mut exit = self.exit.subscribe();
        let taken_over = place.taken_over.clone();
        let last = tokio::select! {
            sent = send(&mut writer, &attached, shown, &mut place.output, &mut exit) => sent,
            () = self.take_keys(reader) => None,
            () = taken_over.cancelled() => Some(Reply::new(reply::Op::TakenOver(TakenOver {}))),
        };
        if let Some(last) = last
            && codec::write(&mut writer, &last, MAX_MESSAGE).await.is_ok()
        {
            // Whoever was attached may be gone.
            let _ = writer.close().await;
        }
    }

    fn take_place(self: &Arc<Self>) -> (Place, Bytes) {
        let (output, receiver) = mpsc::channel(QUEUE);
        let taken_over = CancellationToken::new();
        let mut state = self.state();
        state.attached += 1;
        let viewer = Viewer {
            number: state.attached,
            output,
            taken_over: taken_over.clone(),
        };
        let place = Place {
            session: Arc::clone(self),
            number: state.attached,
            output: receiver,
            taken_over,
        };
        if let Some(before) = state.viewer.replace(viewer) {
            before.taken_over.cancel();
        }
        (place, state.scrollback.all())
    }

    /// Passes keys on until the stream ends.
    async fn take_keys(&self, reader: ReadHalf<Stream>) {
        let mut messages = MessageReader::new(reader, MAX_MESSAGE);
        while let Ok(Some(message)) = messages.next::<TerminalInput>().await {
            match message.op {
                Some(terminal_input::Op::Data(bytes)) => {
                    // A program that has closed its terminal takes no keys; its end is told by
                    // another way.
                    let _ = self.pty.write(&bytes).await;
                }
                Some(terminal_input::Op::Size(size)) => {
                    // A size that the kernel refuses is left as it was.
                    let _ = self.pty.resize(size);
                }
                // A kind of input that is newer than this agent.
                None => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every statement, so a poisoned lock is as good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.session.state();
        if state
            .viewer
            .as_ref()
            .is_some_and(|viewer| viewer.number == self.number)
        {
            state.viewer = None;
        }
    }
}

/// How the program ended, once it has.
async fn ended(exit: &mut watch::Receiver<Option<Exited>>) -> Option<Exited> {
    // The sender is in the session that this is a place of.
    *exit.wait_for(Option::is_some).await.ok()?
}

/// Sends what was shown, and what is shown from now on. Gives the last message, or none if the
/// stream has failed.
async fn send(
    writer: &mut WriteHalf<Stream>,
    attached: &Reply,
    shown: Bytes,
    output: &mut mpsc::Receiver<Bytes>,
    exit: &mut watch::Receiver<Option<Exited>>,
) -> Option<Reply> {
    codec::write(writer, attached, MAX_MESSAGE).await.ok()?;
    for chunk in shown.chunks(codec::MAX_CHUNK) {
        let piece = Reply::new(reply::Op::Stdout(Bytes::copy_from_slice(chunk)));
        codec::write(writer, &piece, MAX_MESSAGE).await.ok()?;
    }
    loop {
        let bytes = tokio::select! {
            // Output first: all of it is handed on before the end is told of.
            biased;
            bytes = output.recv() => bytes,
            exited = ended(exit) => {
                let exited = exited?;
                while let Ok(bytes) = output.try_recv() {
                    let piece = Reply::new(reply::Op::Stdout(bytes));
                    codec::write(writer, &piece, MAX_MESSAGE).await.ok()?;
                }
                return Some(Reply::new(reply::Op::Exited(exited)));
            }
        };
        let Some(bytes) = bytes else {
            // Another has this one's place, which is told by another way.
            return std::future::pending().await;
        };
        let piece = Reply::new(reply::Op::Stdout(bytes));
        codec::write(writer, &piece, MAX_MESSAGE).await.ok()?;
    }
}
