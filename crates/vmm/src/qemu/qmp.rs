//! QEMU's control protocol (QMP): one JSON value a line, commands answered by id, events between.
//! Described in QEMU's `docs/interop/qmp-spec.rst`.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use futures::StreamExt as _;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Mutex;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use crate::error::VmmError;

/// Longest line taken from QEMU, in bytes.
const MAX_LINE: usize = 1 << 20;

/// A connection to one QEMU. Commands wait for each other.
pub(super) struct Qmp {
    connection: Mutex<Connection>,
}

struct Connection {
    lines: FramedRead<OwnedReadHalf, LinesCodec>,
    write: OwnedWriteHalf,
    next_id: u64,
}

/// What QEMU sends: an answer has `id`, an event has none.
#[derive(Deserialize)]
struct Incoming {
    id: Option<u64>,
    #[serde(rename = "return")]
    value: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Takes over a fresh connection: reads the greeting and leaves negotiation mode.
    pub(super) async fn negotiate(stream: UnixStream, limit: Duration) -> Result<Self, VmmError> {
        let (read, write) = stream.into_split();
        let lines = FramedRead::new(read, LinesCodec::new_with_max_length(MAX_LINE));
        let mut connection = Connection {
            lines,
            write,
            next_id: 0,
        };
        let greeting = async {
            connection.line("greet").await?;
            connection
                .execute("qmp_capabilities", json!({}), None)
                .await
        };
        match tokio::time::timeout(limit, greeting).await {
            Err(_) => Err(VmmError::Timeout {
                action: "greet",
                limit,
            }),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) => Ok(Self {
                connection: Mutex::new(connection),
            }),
        }
    }

    /// Runs a command. A cancelled command may still take effect in QEMU; its answer is skipped
    /// by the next one.
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
        let run = async {
            self.connection
                .lock()
                .await
                .execute(command, arguments, fd)
                .await
        };
        match tokio::time::timeout(limit, run).await {
            Err(_) => Err(VmmError::Timeout {
                action: command,
                limit,
            }),
            Ok(result) => result,
        }
    }
}

impl Connection {
    async fn line(&mut self, command: &'static str) -> Result<Incoming, VmmError> {
        let line = match self.lines.next().await {
            Some(Ok(line)) => line,
            Some(Err(LinesCodecError::Io(source))) => return Err(VmmError::Control(source)),
            Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                return Err(VmmError::Protocol { command });
            }
            None => return Err(VmmError::Control(io::ErrorKind::UnexpectedEof.into())),
        };
        serde_json::from_str(&line).map_err(|_| VmmError::Protocol { command })
    }

    async fn execute(
        &mut self,
        command: &'static str,
        arguments: Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Value, VmmError> {
        self.next_id += 1;
        let id = self.next_id;
        let request = json!({ "execute": command, "arguments": arguments, "id": id });
        let mut bytes = request.to_string().into_bytes();
        bytes.push(b'\n');
        let sent = match fd {
            None => 0,
            Some(fd) => self
                .send_with(&bytes, fd)
                .await
                .map_err(VmmError::Control)?,
        };
        self.write
            .write_all(&bytes[sent..])
            .await
            .map_err(VmmError::Control)?;
        loop {
            let incoming = self.line(command).await?;
            if incoming.id != Some(id) {
                // An event, or the late answer to a command whose caller went away.
                continue;
            }
            return match (incoming.value, incoming.error) {
                (Some(value), None) => Ok(value),
                (_, Some(error)) => Err(VmmError::Refused {
                    command,
                    description: error.desc,
                }),
                (None, None) => Err(VmmError::Protocol { command }),
            };
        }
    }

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

#[cfg(test)]
mod test {
    use std::time::Duration;

    use serde_json::json;
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::UnixStream;

    use super::Qmp;
    use crate::error::VmmError;

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
}
