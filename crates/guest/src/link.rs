//! The link: opening it, what ends it, and the calls that have one answer.

use std::sync::Arc;
use std::time::Duration;

use bhatti_proto::codec::{self, MAX_MESSAGE, MAX_REQUEST, MessageReader, ReadError};
use bhatti_proto::message::{
    Card, Clock, Detach, Dial, Exec as ExecMessage, Freeze, Identity as IdentityMessage,
    NextTimer as NextTimerMessage, Ping, Ports, PowerOff, Reply, Request, Status, Stdin, Sync,
    Thaw, Variable, reply, request,
};
use bhatti_proto::mux::{MAX_FRAME_BODY, MAX_STREAMS};
use bhatti_types::env::Env;
use bytes::Bytes;
use futures::io::{AsyncWriteExt as _, BufReader, BufWriter};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::compat::TokioAsyncReadCompatExt as _;

use crate::agent::{AgentInfo, AgentStatus, ListeningPort, NextTimer};
use crate::connection::Connection;
use crate::driver::{self, Driver};
pub use crate::error::{CallError, LinkError, RefusedKind};
use crate::exec::{Command, Detached, Exec, ExecInput, ExecOutput};
use crate::handshake;
use crate::identity::Identity;
use crate::stream::Stream;

/// How long a guest may take to start a command. Starting one is a fork and an exec, but the
/// guest may be a slow one that has just come out of a snapshot, with many starting at once.
pub(crate) const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a guest may take to connect to one of its ports. It gives up before that itself.
const DIAL_LIMIT: Duration = Duration::from_secs(30);
/// How long each attempt of [`Link::connect`] but the last may take when it resyncs. An attempt
/// has several rounds of hellos in it; see [`handshake`].
const ATTEMPTS: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// Buffers below yamux, in bytes: a frame with its header goes out in one write, and small
/// frames come in many at a time.
const BUFFER: usize = 2 * MAX_FRAME_BODY;

/// How to greet the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// Whether the agent may stand in the middle of an older conversation: after a restore, or
    /// when an earlier daemon was connected. `false` for a guest that has just been started.
    pub resync: bool,
    /// How long to wait for the agent.
    pub limit: Duration,
}

/// A link to one guest's agent. Clones share it.
///
/// It ends when its last clone and the last running [`Exec`] on it are dropped. Commands that run
/// then live on; those whose [`Exec`] is dropped do not.
#[derive(Debug, Clone)]
pub struct Link {
    inner: Arc<Inner>,
    info: Arc<AgentInfo>,
}

/// What handles, streams and commands share.
#[derive(Debug)]
pub(crate) struct Inner {
    requests: mpsc::Sender<driver::Request>,
    ended: watch::Receiver<Option<Arc<LinkError>>>,
    streams: Arc<Semaphore>,
}

impl Link {
    /// Connects to the agent, greets it and takes the link into use.
    ///
    /// In a resync, an agent that stays silent is connected to anew a few times. QEMU (7.2 at
    /// least) forgets to pass on what a guest writes if the host's end of its port went away while
    /// the guest's output was backed up and its vCPUs stood still, or was not there when such a
    /// guest was restored; the port's next closing ends that. An error of `connect` ends the
    /// attempts.
    ///
    /// Needs a tokio runtime with time, in which the link's task then runs.
    pub async fn connect<S, E, F>(
        mut connect: impl FnMut() -> F,
        greeting: Greeting,
    ) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        E: std::error::Error + Send + std::marker::Sync + 'static,
        F: Future<Output = Result<S, E>>,
    {
        let end = Instant::now() + greeting.limit;
        let mut attempts = ATTEMPTS
            .iter()
            .take(if greeting.resync { ATTEMPTS.len() } else { 0 });
        loop {
            let stream = connect().await.map_err(|error| LinkError::Connect {
                source: Box::new(error),
            })?;
            let left = end.saturating_duration_since(Instant::now());
            let limit = attempts.next().map_or(left, |limit| left.min(*limit));
            match Self::open(stream, Greeting { limit, ..greeting }).await {
                Err(LinkError::Silent { .. }) if limit < left => {}
                Err(LinkError::Silent { .. }) => {
                    return Err(LinkError::Silent {
                        limit: greeting.limit,
                    });
                }
                other => return other,
            }
        }
    }

    /// Greets the agent over a stream and takes the link into use.
    ///
    /// Needs a tokio runtime with time, in which the link's task then runs.
    pub async fn open<S>(mut stream: S, greeting: Greeting) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let info = handshake::greet(&mut stream, greeting).await?;
        let stream = BufReader::with_capacity(BUFFER, stream.compat());
        let stream = BufWriter::with_capacity(BUFFER, stream);
        let (requests, waiting) = mpsc::channel(driver::REQUESTS);
        let (reason, ended) = watch::channel(None);
        // Owned by the handles: it ends with the last of them, and reports by `ended`.
        tokio::spawn(Driver::new(stream, waiting).run(reason));
        let inner = Inner {
            requests,
            ended,
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        };
        Ok(Self {
            inner: Arc::new(inner),
            info: Arc::new(info),
        })
    }

    /// What the agent said of itself.
    pub fn agent(&self) -> &AgentInfo {
        &self.info
    }

    /// Waits until the link has ended, and says why. Cancel-safe.
    pub async fn closed(&self) -> Arc<LinkError> {
        self.inner.closed().await
    }

    /// Whether the link has not ended.
    pub fn is_open(&self) -> bool {
        self.inner.ended.borrow().is_none() && !self.inner.requests.is_closed()
    }

    /// Asks for a sign of life.
    pub async fn ping(&self, limit: Duration) -> Result<(), CallError> {
        self.done("answer", request::Op::Ping(Ping {}), limit).await
    }

    /// Gives the guest its identity.
    pub async fn identity(&self, identity: &Identity, limit: Duration) -> Result<(), CallError> {
        let message = IdentityMessage {
            hostname: identity.hostname.clone(),
            machine_id: identity.machine_id.clone(),
            entropy: Bytes::copy_from_slice(&identity.entropy),
            unix_nanos: identity.unix_nanos,
            env: variables(&identity.env),
            user: identity.user.clone(),
            cwd: identity.cwd.clone(),
            grow_root: identity.grow_root,
            fresh: identity.fresh,
            service: identity.service.as_ref().map(crate::service::message),
            card: identity.card.as_ref().map(|card| Card {
                mac: Bytes::copy_from_slice(&card.mac.octets()),
                address: card.address.to_bits(),
                prefix: card.prefix.into(),
                gateway: card.gateway.to_bits(),
                mtu: card.mtu,
                dns: vec![card.dns.to_bits()],
            }),
        };
        self.done("take its identity", request::Op::Identity(message), limit)
            .await
    }

    /// Sets the guest's wall clock, in nanoseconds since 1970.
    pub async fn set_clock(&self, unix_nanos: u64, limit: Duration) -> Result<(), CallError> {
        let op = request::Op::Clock(Clock { unix_nanos });
        self.done("set its clock", op, limit).await
    }

    /// Flushes the guest's file systems to their disks.
    pub async fn sync(&self, limit: Duration) -> Result<(), CallError> {
        self.done("flush its disks", request::Op::Sync(Sync {}), limit)
            .await
    }

    /// Writes the guest's root file system out and holds all writes to it, until [`Link::thaw`] or
    /// until `thaws_after` is over: nobody may ever come to thaw it.
    pub async fn freeze(&self, thaws_after: Duration, limit: Duration) -> Result<(), CallError> {
        let op = request::Op::Freeze(Freeze {
            limit_ms: u64::try_from(thaws_after.as_millis()).unwrap_or(u64::MAX),
        });
        self.done("freeze its disk", op, limit).await
    }

    /// Lets writes to the guest's root file system go on. An error means that they may have gone
    /// on before: what was copied since the freeze is then not of one instant.
    pub async fn thaw(&self, limit: Duration) -> Result<(), CallError> {
        self.done("thaw its disk", request::Op::Thaw(Thaw {}), limit)
            .await
    }

    /// Begins an orderly power-off. The link ends soon after.
    pub async fn power_off(&self, limit: Duration) -> Result<(), CallError> {
        self.done("power off", request::Op::PowerOff(PowerOff {}), limit)
            .await
    }

    /// Asks the agent how it is doing.
    pub async fn status(&self, limit: Duration) -> Result<AgentStatus, CallError> {
        let op = request::Op::Status(Status {});
        match within("say how it is", limit, self.ask(op)).await? {
            reply::Op::Status(status) => Ok(AgentStatus {
                rss_bytes: status.rss_bytes,
                uptime: Duration::from_millis(status.uptime_ms),
                running: status.running,
                streams: status.streams,
                generation: status.generation,
            }),
            other => Err(wrong_answer(other)),
        }
    }

    /// Asks when something in the guest next wants to run by the wall clock: a line of a crontab, a
    /// job of `at`, a timer of systemd. `None` if nothing does.
    ///
    /// The agent takes up to a few seconds. One that is older than the operation refuses it as
    /// [`RefusedKind::Unsupported`].
    pub async fn next_timer(&self, limit: Duration) -> Result<Option<NextTimer>, CallError> {
        let op = request::Op::NextTimer(NextTimerMessage {});
        match within("say what it runs next", limit, self.ask(op)).await? {
            reply::Op::NextTimer(next) => Ok(next.unix_nanos.map(|unix_nanos| NextTimer {
                unix_nanos,
                what: crate::error::printable(&next.what),
            })),
            other => Err(wrong_answer(other)),
        }
    }

    /// Connects to a TCP port of the guest's loopback.
    ///
    /// Nothing listening there is a refusal of the kind [`RefusedKind::NotListening`]; an agent that
    /// is older than the operation refuses it as [`RefusedKind::Unsupported`].
    pub async fn dial(&self, port: u16) -> Result<Connection, CallError> {
        let dialled = async {
            let op = request::Op::Dial(Dial {
                port: u32::from(port),
            });
            let mut replies = MessageReader::new(self.request(op).await?, MAX_MESSAGE);
            match answer(&self.inner, &mut replies).await? {
                reply::Op::Done(_) => Ok(Connection::new(replies)),
                other => Err(wrong_answer(other)),
            }
        };
        within("connect to the port", DIAL_LIMIT, dialled).await
    }

    /// The TCP sockets that are listened on in the guest, sorted by port.
    pub async fn ports(&self, limit: Duration) -> Result<Vec<ListeningPort>, CallError> {
        let op = request::Op::Ports(Ports {});
        match within("say what listens", limit, self.ask(op)).await? {
            reply::Op::Ports(found) => {
                let listening = found.ports.into_iter().filter_map(|found| {
                    Some(ListeningPort {
                        port: u16::try_from(found.port).ok()?,
                        address: found.address.parse().ok()?,
                    })
                });
                Ok(listening.collect())
            }
            other => Err(wrong_answer(other)),
        }
    }

    /// Starts a command.
    pub async fn exec(&self, command: &Command) -> Result<Exec, CallError> {
        within("start the command", START_LIMIT, self.start(command)).await
    }

    /// Starts a command that is left to itself, its output going to a file in the guest: the one
    /// given, which is overwritten, or a new one under `/tmp`.
    ///
    /// It has no standard input. Its time limit, if any, holds as for others.
    pub async fn exec_detached(
        &self,
        command: &Command,
        output_file: Option<&str>,
    ) -> Result<Detached, CallError> {
        let message = ExecMessage {
            stdin: false,
            detach: Some(Detach {
                output_file: output_file.map(str::to_owned),
            }),
            ..exec_message(command)
        };
        let answer = self.ask(request::Op::Exec(message));
        match within("start the command", START_LIMIT, answer).await? {
            reply::Op::Detached(detached) => Ok(Detached {
                pid: detached.pid,
                output_file: crate::error::printable(&detached.output_file),
            }),
            other => Err(wrong_answer(other)),
        }
    }

    async fn start(&self, command: &Command) -> Result<Exec, CallError> {
        let stream = self
            .request(request::Op::Exec(exec_message(command)))
            .await?;
        let mut replies = MessageReader::new(stream.clone(), MAX_MESSAGE);
        let started = match answer(&self.inner, &mut replies).await? {
            reply::Op::Started(started) => started,
            other => return Err(wrong_answer(other)),
        };
        let output = ExecOutput::new(stream.clone(), replies);
        let stdin = if command.stdin {
            let op = request::Op::Stdin(Stdin { exec: started.exec });
            Some(self.request(op).await?)
        } else {
            None
        };
        Ok(Exec {
            pid: started.pid,
            input: ExecInput::new(stream, stdin),
            output,
        })
    }

    /// A call whose only good answer is that it is done.
    pub(crate) async fn done(
        &self,
        what: &'static str,
        op: request::Op,
        limit: Duration,
    ) -> Result<(), CallError> {
        match within(what, limit, self.ask(op)).await? {
            reply::Op::Done(_) => Ok(()),
            other => Err(wrong_answer(other)),
        }
    }

    /// A request and its first answer.
    pub(crate) async fn ask(&self, op: request::Op) -> Result<reply::Op, CallError> {
        let stream = self.request(op).await?;
        answer(&self.inner, &mut MessageReader::new(stream, MAX_MESSAGE)).await
    }

    /// Opens a stream with a request on it.
    pub(crate) async fn request(&self, op: request::Op) -> Result<Stream, CallError> {
        let wire = codec::encode(&Request::new(op), MAX_REQUEST)
            .map_err(|_| CallError::TooLarge { what: "request" })?;
        let mut stream = Inner::open(&self.inner).await?;
        let written = stream.write_all(&wire).await;
        if written.is_err() {
            return Err(self.inner.stream_failed("did not take the request").await);
        }
        Ok(stream)
    }
}

impl Inner {
    async fn closed(&self) -> Arc<LinkError> {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone(),
            // The driver went without a reason: its runtime is being shut down.
            Err(_) => None,
        }
        .unwrap_or_else(|| Arc::new(LinkError::Closed))
    }

    async fn down(&self) -> CallError {
        CallError::Link {
            source: self.closed().await,
        }
    }

    async fn open(this: &Arc<Self>) -> Result<Stream, CallError> {
        let Ok(permit) = Arc::clone(&this.streams).try_acquire_owned() else {
            return Err(CallError::Refused {
                kind: RefusedKind::Busy,
                message: format!("more than {MAX_STREAMS} operations at once in one guest"),
            });
        };
        let (answer, opened) = oneshot::channel();
        if this
            .requests
            .send(driver::Request::Open(answer))
            .await
            .is_err()
        {
            return Err(this.down().await);
        }
        match opened.await {
            Ok(stream) => Ok(Stream::new(stream, permit, Arc::clone(this))),
            Err(_) => Err(this.down().await),
        }
    }

    /// What it means that a stream ended before its time: the link's end, or the agent's fault.
    pub(crate) async fn stream_failed(&self, what: &'static str) -> CallError {
        let (answer, answered) = oneshot::channel();
        let asked = self.requests.send(driver::Request::Probe(answer)).await;
        if asked.is_ok() && answered.await.is_ok() {
            CallError::Protocol { what }
        } else {
            self.down().await
        }
    }

    /// Ends the link if what could not be read is a breach of its rules, and says what it means
    /// for the call.
    pub(crate) async fn read_failed(&self, error: ReadError) -> CallError {
        let what = match error {
            ReadError::Io { .. } => return self.stream_failed("the stream failed").await,
            ReadError::Truncated => return self.stream_failed("it ends inside a message").await,
            ReadError::TooLong { .. } => "sent a message that is too long".to_owned(),
            ReadError::Malformed { .. } => "sent a message that does not decode".to_owned(),
        };
        let reason = LinkError::Misbehaved { what };
        // If the driver is gone already, the link has ended for another reason.
        let _ = self.requests.send(driver::Request::Fail(reason)).await;
        self.down().await
    }
}

/// The next answer on a stream.
pub(crate) async fn answer(
    link: &Inner,
    replies: &mut MessageReader<Stream>,
) -> Result<reply::Op, CallError> {
    loop {
        match replies.next::<Reply>().await {
            Ok(Some(Reply { op: Some(op) })) => return Ok(op),
            // A kind of answer that is newer than this daemon.
            Ok(Some(Reply { op: None })) => {}
            Ok(None) => return Err(link.stream_failed("it ended without one").await),
            Err(error) => return Err(link.read_failed(error).await),
        }
    }
}

pub(crate) fn wrong_answer(op: reply::Op) -> CallError {
    match op {
        reply::Op::Refused(refused) => refused.into(),
        _ => CallError::Protocol {
            what: "it answered another question",
        },
    }
}

pub(crate) async fn within<T>(
    what: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    timeout(limit, call)
        .await
        .unwrap_or(Err(CallError::TimedOut { what, limit }))
}

fn variables(env: &Env) -> Vec<Variable> {
    let variable = |(name, value): (&String, &String)| Variable {
        name: name.clone(),
        value: value.clone(),
    };
    env.as_map().iter().map(variable).collect()
}

pub(crate) fn exec_message(command: &Command) -> ExecMessage {
    ExecMessage {
        argv: command.argv.clone(),
        env: variables(&command.env),
        cwd: command.cwd.clone(),
        user: command.user.clone(),
        // A limit of less than a millisecond is still a limit.
        timeout_ms: command
            .timeout
            .map(|limit| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX).max(1)),
        stdin: command.stdin,
        detach: None,
    }
}
