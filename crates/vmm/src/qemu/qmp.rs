//! QEMU's control protocol (QMP): one JSON value a line, commands answered by id, events between.
//! Described in QEMU's `docs/interop/qmp-spec.rst`.
//!
//! What QEMU sends is read by a task from the beginning to the end of the connection, so that an
//! event is known when it happens and not when the next command waits for its answer.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use crate::error::VmmError;
use crate::machine::Halt;

/// Longest line taken from QEMU, in bytes.
const MAX_LINE: usize = 1 << 20;

/// A connection to one QEMU. Commands wait for each other.
pub(super) struct Qmp {
    sending: tokio::sync::Mutex<Sending>,
    received: Arc<Received>,
    /// Reads until the connection ends, or this is dropped.
    reading: JoinHandle<()>,
}

struct Sending {
    write: OwnedWriteHalf,
    next_id: u64,
}

/// What the reading task and the commands know of each other.
struct Received {
    awaited: Mutex<Awaited>,
    /// Why vCPUs stand still, if nobody here has paused them.
    halt: watch::Sender<Option<Halt>>,
}

#[derive(Default)]
struct Awaited {
    /// The command that waits for its answer.
    command: Option<Waiting>,
    /// The connection has ended, and how.
    ended: Option<io::ErrorKind>,
    /// vCPUs were told to stand still, and not yet to go on.
    told_to_stop: bool,
    /// What went wrong just before vCPUs stopped of themselves.
    cause: Option<Halt>,
}

struct Waiting {
    id: u64,
    name: &'static str,
    answer: oneshot::Sender<Result<Value, VmmError>>,
}

/// What QEMU sends: an answer has `id`, an event has none, the greeting has neither.
#[derive(Deserialize)]
struct Incoming {
    id: Option<u64>,
    #[serde(rename = "return")]
    value: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Takes over a fresh connection: reads the greeting and leaves negotiation mode.
    pub(super) async fn negotiate(stream: UnixStream, limit: Duration) -> Result<Self, VmmError> {
        let (read, write) = stream.into_split();
        let mut lines = FramedRead::new(read, LinesCodec::new_with_max_length(MAX_LINE));
        let greeting = async {
            let line = match lines.next().await {
                Some(Ok(line)) => line,
                Some(Err(LinesCodecError::Io(source))) => return Err(VmmError::Control(source)),
                Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                    return Err(VmmError::Protocol { command: "greet" });
                }
                None => return Err(VmmError::Control(io::ErrorKind::UnexpectedEof.into())),
            };
            serde_json::from_str::<Incoming>(&line)
                .map_err(|_| VmmError::Protocol { command: "greet" })?;
            let received = Arc::new(Received {
                awaited: Mutex::default(),
                halt: watch::Sender::new(None),
            });
            let qmp = Self {
                sending: tokio::sync::Mutex::new(Sending { write, next_id: 0 }),
                reading: tokio::spawn(read_all(lines, received.clone())),
                received,
            };
            qmp.execute("qmp_capabilities", json!({}), limit).await?;
            Ok(qmp)
        };
        match tokio::time::timeout(limit, greeting).await {
            Err(_) => Err(VmmError::Timeout {
                action: "greet",
                limit,
            }),
            Ok(greeted) => greeted,
        }
    }

    /// Runs a command. A cancelled command may still take effect in QEMU; its answer is skipped.
    pub(super) async fn execute(
        &self,
        command: &'static str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, VmmError> {
        self.execute_with(command, arguments, None, limit).await
    }

    /// Runs a command and hands QEMU a file descriptor with it.
    pub(super) async fn execute_with(
        &self,
        command: &'static str,
        arguments: Value,
        fd: Option<BorrowedFd<'_>>,
        limit: Duration,
    ) -> Result<Value, VmmError> {
        match tokio::time::timeout(limit, self.run(command, arguments, fd)).await {
            Err(_) => Err(VmmError::Timeout {
                action: command,
                limit,
            }),
            Ok(result) => result,
        }
    }

    /// Waits until vCPUs stand still although nobody here has paused them, and says why; at once
    /// if they do so already. Cancel-safe.
    pub(super) async fn halted(&self) -> Halt {
        let mut halt = self.received.halt.subscribe();
        loop {
            if let Some(halt) = *halt.borrow_and_update() {
                return halt;
            }
            if halt.changed().await.is_err() {
                // Its sender is held by `self`.
                return std::future::pending().await;
            }
        }
    }

    async fn run(
        &self,
        command: &'static str,
        arguments: Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Value, VmmError> {
        let mut sending = self.sending.lock().await;
        sending.next_id += 1;
        let id = sending.next_id;
        let (answer, answered) = oneshot::channel();
        self.received.expect(Waiting {
            id,
            name: command,
            answer,
        })?;
        let request = json!({ "execute": command, "arguments": arguments, "id": id });
        let mut bytes = request.to_string().into_bytes();
        bytes.push(b'\n');
        let sent = match fd {
            None => 0,
            Some(fd) => sending
                .send_with(&bytes, fd)
                .await
                .map_err(VmmError::Control)?,
        };
        sending
            .write
            .write_all(&bytes[sent..])
            .await
            .map_err(VmmError::Control)?;
        // The reading task drops it only if it breaks down.
        answered
            .await
            .unwrap_or_else(|_| Err(VmmError::Control(io::ErrorKind::BrokenPipe.into())))
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Sending {
    /// Sends bytes with a file descriptor beside the first of them; gives how many were sent.
    async fn send_with(&self, bytes: &[u8], fd: BorrowedFd<'_>) -> io::Result<usize> {
        let fds = [fd];
        let stream: &UnixStream = self.write.as_ref();
        stream
            .async_io(tokio::io::Interest::WRITABLE, || {
                let mut space =
                    [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                ancillary.push(SendAncillaryMessage::ScmRights(&fds));
                let parts = [io::IoSlice::new(bytes)];
                rustix::net::sendmsg(stream.as_fd(), &parts, &mut ancillary, SendFlags::NOSIGNAL)
                    .map_err(Into::into)
            })
            .await
    }
}

/// Reads what QEMU sends, until it sends no more.
async fn read_all(mut lines: FramedRead<OwnedReadHalf, LinesCodec>, received: Arc<Received>) {
    loop {
        let line = match lines.next().await {
            Some(Ok(line)) => line,
            Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                received.messed_up();
                continue;
            }
            Some(Err(LinesCodecError::Io(source))) => return received.end(source.kind()),
            None => return received.end(io::ErrorKind::UnexpectedEof),
        };
        match serde_json::from_str::<Incoming>(&line) {
            Err(_) => received.messed_up(),
            Ok(Incoming {
                event: Some(event),
                data,
                ..
            }) => received.event(&event, &data),
            Ok(incoming) => received.answer(incoming),
        }
    }
}

impl Received {
    /// Makes a command the one that is waited for.
    fn expect(&self, waiting: Waiting) -> Result<(), VmmError> {
        let mut awaited = self.lock();
        if let Some(kind) = awaited.ended {
            return Err(VmmError::Control(kind.into()));
        }
        match waiting.name {
            "stop" => awaited.told_to_stop = true,
            "cont" => awaited.told_to_stop = false,
            _ => {}
        }
        awaited.command = Some(waiting);
        Ok(())
    }

    fn answer(&self, incoming: Incoming) {
        let is_it = |waiting: &mut Waiting| incoming.id == Some(waiting.id);
        // If not: the late answer to a command whose caller went away.
        let Some(waiting) = self.lock().command.take_if(is_it) else {
            return;
        };
        let command = waiting.name;
        let result = match (incoming.value, incoming.error) {
            (Some(value), None) => Ok(value),
            (_, Some(error)) => Err(VmmError::Refused {
                command,
                description: error.desc,
            }),
            (None, None) => Err(VmmError::Protocol { command }),
        };
        waiting.tell(result);
    }

    /// The events of QEMU's qapi/run-state.json and qapi/block-core.json.
    fn event(&self, event: &str, data: &Value) {
        let mut awaited = self.lock();
        match event {
            "BLOCK_IO_ERROR" if data["action"] == "stop" => {
                awaited.cause = Some(match data["nospace"].as_bool() {
                    Some(true) => Halt::DiskFull,
                    Some(false) | None => Halt::DiskFailed,
                });
            }
            "STOP" => {
                let cause = awaited.cause.take();
                if !awaited.told_to_stop {
                    self.halt.send_replace(cause.or(Some(Halt::Unknown)));
                }
            }
            "RESUME" => {
                awaited.cause = None;
                self.halt.send_replace(None);
            }
            _ => {}
        }
    }

    /// Something that is no message of the protocol came in place of an answer.
    fn messed_up(&self) {
        if let Some(waiting) = self.lock().command.take() {
            let command = waiting.name;
            waiting.tell(Err(VmmError::Protocol { command }));
        }
    }

    fn end(&self, kind: io::ErrorKind) {
        let mut awaited = self.lock();
        awaited.ended = Some(kind);
        if let Some(waiting) = awaited.command.take() {
            waiting.tell(Err(VmmError::Control(kind.into())));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Awaited> {
        // Each change is one assignment, so what a panic leaves is whole.
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn tell(self, result: Result<Value, VmmError>) {
        // Its caller may have gone away.
        let _ = self.answer.send(result);
    }
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use futures::FutureExt as _;
    use serde_json::json;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::UnixStream;

    use super::Qmp;
    use crate::error::VmmError;
    use crate::machine::Halt;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Answers each request with the lines given for it, `ID` replaced by the request's id.
    fn scripted(answers: &'static [&'static str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let mut theirs = BufReader::new(theirs);
            theirs
                .write_all(b"{\"QMP\": {\"version\": {}}}\n")
                .await
                .unwrap();
            for answer in [&["{\"return\": {}, \"id\": ID}"], answers].concat() {
                let mut line = String::new();
                theirs.read_line(&mut line).await.unwrap();
                let request: serde_json::Value = serde_json::from_str(&line).unwrap();
                let answer = answer.replace("ID", &request["id"].to_string());
                theirs
                    .write_all(format!("{answer}\n").as_bytes())
                    .await
                    .unwrap();
            }
        });
        ours
    }

    #[tokio::test]
    async fn events_and_late_answers_are_skipped() {
        let stream = scripted(&[
            "{\"event\": \"STOP\"}\n{\"return\": 1, \"id\": 77}\n{\"return\": {\"a\": 2}, \"id\": ID}",
        ]);
        let qmp = Qmp::negotiate(stream, LIMIT).await.unwrap();
        assert_eq!(
            qmp.execute("stop", json!({}), LIMIT).await.unwrap(),
            json!({ "a": 2 })
        );
    }

    #[tokio::test]
    async fn a_refusal_a_mess_and_an_end_are_told_apart() {
        let stream = scripted(&["{\"error\": {\"desc\": \"no\"}, \"id\": ID}", "mess"]);
        let qmp = Qmp::negotiate(stream, LIMIT).await.unwrap();
        let refused = qmp.execute("cont", json!({}), LIMIT).await.unwrap_err();
        assert!(
            matches!(
                refused,
                VmmError::Refused {
                    command: "cont",
                    ..
                }
            ),
            "{refused:?}"
        );
        let mess = qmp.execute("cont", json!({}), LIMIT).await.unwrap_err();
        assert!(matches!(mess, VmmError::Protocol { .. }), "{mess:?}");
        let end = qmp.execute("cont", json!({}), LIMIT).await.unwrap_err();
        assert!(matches!(end, VmmError::Control(_)), "{end:?}");
    }

    #[tokio::test]
    async fn a_stop_that_nobody_asked_for_is_told_without_a_command() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let talk = tokio::spawn(async move {
            let greeting = "{\"QMP\": {}}\n{\"return\": {}, \"id\": 1}\n";
            theirs.write_all(greeting.as_bytes()).await.unwrap();
            theirs
        });
        let qmp = Qmp::negotiate(ours, LIMIT).await.unwrap();
        let mut theirs = talk.await.unwrap();
        let full = "{\"event\": \"BLOCK_IO_ERROR\", \"data\": {\"action\": \"stop\", \
                    \"nospace\": true}}\n{\"event\": \"STOP\"}\n";
        theirs.write_all(full.as_bytes()).await.unwrap();
        assert_eq!(qmp.halted().await, Halt::DiskFull);
        // It is still so for whoever asks later.
        assert_eq!(qmp.halted().await, Halt::DiskFull);
    }

    #[tokio::test]
    async fn what_was_told_to_stop_or_goes_on_has_not_halted() {
        let stream = scripted(&[
            "{\"event\": \"STOP\"}\n{\"return\": {}, \"id\": ID}",
            "{\"event\": \"RESUME\"}\n{\"return\": {}, \"id\": ID}",
            "{\"event\": \"STOP\"}\n{\"return\": {}, \"id\": ID}",
            "{\"event\": \"RESUME\"}\n{\"return\": {}, \"id\": ID}",
        ]);
        let qmp = Qmp::negotiate(stream, LIMIT).await.unwrap();
        let run = async |command| qmp.execute(command, json!({}), LIMIT).await.unwrap();
        run("stop").await;
        assert!(qmp.halted().now_or_never().is_none());
        run("cont").await;
        // By itself: it runs, so nobody has told it to.
        run("query-status").await;
        assert_eq!(qmp.halted().await, Halt::Unknown);
        run("cont").await;
        assert!(qmp.halted().now_or_never().is_none());
    }
}
