//! Between a command in a sandbox and this process's streams and signals.

use std::convert::Infallible;

use bhatti_api::exec::{ExecRequest, MAX_BUFFERED, MAX_CHUNK};
use bhatti_client::client::Client;
use bhatti_client::exec::{ExecExit, ExecInput, ExecOutput, ExecStep};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, Stderr, Stdout};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::signals::Signals;

/// Signals that may wait to be passed on. With the second we give up, so one would do.
const SIGNALS_WAITING: usize = 2;

/// What takes a command's output.
pub(crate) trait Sink {
    /// Takes bytes of standard output, all of them.
    async fn stdout(&mut self, bytes: Bytes) -> Result<(), Failure>;
    /// Takes bytes of standard error, all of them.
    async fn stderr(&mut self, bytes: Bytes) -> Result<(), Failure>;
}

/// This process's own streams.
pub(crate) struct Streams {
    stdout: Stdout,
    stderr: Stderr,
}

/// Output kept in memory.
#[derive(Default)]
pub(crate) struct Collector {
    /// Standard output.
    pub(crate) stdout: Collected,
    /// Standard error.
    pub(crate) stderr: Collected,
}

/// One stream's output, up to [`MAX_BUFFERED`].
#[derive(Default)]
pub(crate) struct Collected {
    /// As much as was kept.
    pub(crate) bytes: Vec<u8>,
    /// Whether there was more.
    pub(crate) truncated: bool,
}

impl Streams {
    /// Takes the streams.
    pub(crate) fn new() -> Self {
        Self {
            stdout: tokio::io::stdout(),
            stderr: tokio::io::stderr(),
        }
    }
}

impl Sink for Streams {
    async fn stdout(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let written = async {
            self.stdout.write_all(&bytes).await?;
            self.stdout.flush().await
        };
        written.await.map_err(|source| Failure::Stdout { source })
    }

    async fn stderr(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let written = async {
            self.stderr.write_all(&bytes).await?;
            self.stderr.flush().await
        };
        written.await.map_err(|source| Failure::Stderr { source })
    }
}

impl Collected {
    fn take(&mut self, bytes: &[u8]) {
        let room = MAX_BUFFERED - self.bytes.len();
        self.truncated |= bytes.len() > room;
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

impl Sink for Collector {
    async fn stdout(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.stdout.take(&bytes);
        Ok(())
    }

    async fn stderr(&mut self, bytes: Bytes) -> Result<(), Failure> {
        self.stderr.take(&bytes);
        Ok(())
    }
}

/// Runs a command with this process's standard input, and signals passed on. The second signal
/// gives up: the connection is dropped, and with it the command.
pub(crate) async fn pump(
    client: &Client,
    sandbox: &str,
    request: &ExecRequest,
    sink: &mut impl Sink,
) -> Result<ExecExit, Failure> {
    pump_from(client, sandbox, request, tokio::io::stdin(), sink).await
}

/// The same with another input than this process's own.
pub(crate) async fn pump_from(
    client: &Client,
    sandbox: &str,
    request: &ExecRequest,
    source: impl AsyncRead + Unpin,
    sink: &mut impl Sink,
) -> Result<ExecExit, Failure> {
    let mut signals = Signals::new()?;
    // A signal before there is a command ends this process as it would without a handler.
    let (input, output) = tokio::select! {
        started = client.exec_start(sandbox, request) => started?,
        signal = signals.next() => return Err(Failure::GivenUp { signal }),
    };
    let (pass_on, passed_on) = mpsc::channel(SIGNALS_WAITING);
    tokio::select! {
        exit = drain(output, sink) => exit,
        never = feed(source, input, passed_on) => match never {},
        signal = watch(signals, pass_on) => Err(Failure::GivenUp { signal }),
    }
}

/// Output to the sink until the command has ended.
async fn drain(mut output: ExecOutput, sink: &mut impl Sink) -> Result<ExecExit, Failure> {
    loop {
        match output.next().await? {
            ExecStep::Stdout(bytes) => sink.stdout(bytes).await?,
            ExecStep::Stderr(bytes) => sink.stderr(bytes).await?,
            ExecStep::Exit(exit) => return Ok(exit),
        }
    }
}

/// Standard input and signals to the command. Never ends: that is for the output to do, which
/// also has the reason if the daemon takes no more.
async fn feed(
    mut source: impl AsyncRead + Unpin,
    mut input: ExecInput,
    mut signals: mpsc::Receiver<i32>,
) -> Infallible {
    let mut buffer = vec![0; MAX_CHUNK];
    let mut open = true;
    loop {
        let sent = tokio::select! {
            biased;
            Some(signal) = signals.recv() => input.signal(signal).await,
            read = source.read(&mut buffer), if open => match read {
                // A standard input that cannot be read, a closed one for instance, is an end too.
                Ok(0) | Err(_) => {
                    open = false;
                    input.stdin_end().await
                }
                Ok(length) => input.stdin(&buffer[..length]).await,
            },
            else => break,
        };
        if sent.is_err() {
            break;
        }
    }
    std::future::pending().await
}

/// Passes on the first signal and gives the second.
async fn watch(mut signals: Signals, pass_on: mpsc::Sender<i32>) -> u8 {
    let first = signals.next().await;
    // The feeder may be stuck in a full connection or be done; the second signal still counts.
    let _ = pass_on.try_send(i32::from(first));
    signals.next().await
}

#[cfg(test)]
mod test {
    use bhatti_api::exec::MAX_BUFFERED;

    use super::Collected;

    #[test]
    fn output_past_the_limit_is_dropped_and_said_to_be() {
        let mut collected = Collected::default();
        collected.take(&vec![1; MAX_BUFFERED - 1]);
        collected.take(b"x");
        assert!(!collected.truncated);
        collected.take(b"y");
        assert!(collected.truncated);
        assert_eq!(collected.bytes.len(), MAX_BUFFERED);
    }
}
