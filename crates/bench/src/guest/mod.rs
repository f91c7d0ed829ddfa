//! Programs that run inside guests, and their output on the host.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bhatti_api::exec::ExecRequest;
use bhatti_client::client::Client;
use bhatti_client::exec::{ExecInput, ExecOutput, ExecStep};
use bhatti_guest::exec as bare;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::bare::machine::BareMachine;

/// Writes its clock again and again.
pub(crate) const HEART: &str = include_str!("heart.py");
/// Writes to memory and keeps it.
pub(crate) const DIRTY: &str = include_str!("dirty.py");
/// Starts processes when it is told to.
pub(crate) const SPAWN: &str = include_str!("spawn.py");

/// How long such a program may take to say what is waited for. Writing gigabytes under software
/// emulation takes a while.
const LIMIT: Duration = Duration::from_mins(3);
/// Seconds such a program may run, if nobody ends it.
const RUN_LIMIT: u64 = 3600;

/// A program that runs in a guest. Dropping this ends it.
pub(crate) struct Running {
    seen: Arc<Seen>,
    input: Input,
    reader: JoinHandle<()>,
}

/// The way to the program's standard input.
enum Input {
    Ours(ExecInput),
    Bare(bare::ExecInput),
}

#[derive(Default)]
struct Seen {
    pieces: Mutex<Vec<(Instant, Bytes)>>,
    changed: Notify,
}

impl Seen {
    fn add(&self, bytes: Bytes) {
        let now = Instant::now();
        self.with(|pieces| pieces.push((now, bytes)));
        self.changed.notify_waiters();
    }

    fn with<T>(&self, look: impl FnOnce(&mut Vec<(Instant, Bytes)>) -> T) -> T {
        look(&mut self.pieces.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Running {
    /// Starts a Python program in a sandbox.
    pub(crate) async fn ours(
        client: &Client,
        name: &str,
        program: &str,
        args: &[&str],
    ) -> anyhow::Result<Self> {
        let request = ExecRequest {
            cmd: argv(program, args).map(str::to_owned).collect(),
            stdin: true,
            timeout_sec: Some(RUN_LIMIT),
            ..ExecRequest::default()
        };
        let (input, mut output) = client.exec_start(name, &request).await?;
        Ok(Self::new(Input::Ours(input), async move |seen| {
            while let Some(bytes) = next(&mut output).await {
                seen.add(bytes);
            }
        }))
    }

    /// Starts a Python program in a bare machine.
    pub(crate) async fn bare(
        machine: &BareMachine,
        program: &str,
        args: &[&str],
    ) -> anyhow::Result<Self> {
        let words: Vec<_> = argv(program, args).collect();
        let exec = machine.start(&words).await?;
        let mut output = exec.output;
        Ok(Self::new(Input::Bare(exec.input), async move |seen| {
            while let Ok(Some(event)) = output.next().await {
                match event {
                    bare::ExecEvent::Stdout(bytes) | bare::ExecEvent::Stderr(bytes) => {
                        seen.add(bytes);
                    }
                    bare::ExecEvent::Exit(_) => return,
                }
            }
        }))
    }

    fn new<F>(input: Input, read: impl FnOnce(Arc<Seen>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let seen = Arc::new(Seen::default());
        let reader = tokio::spawn(read(seen.clone()));
        Self {
            seen,
            input,
            reader,
        }
    }

    /// Waits until it has written a line with this word in it.
    pub(crate) async fn says(&self, word: &str) -> anyhow::Result<()> {
        self.wait(word, |pieces| text(pieces).contains(word).then_some(()))
            .await
    }

    /// Sends it a line and gives the next line that it writes.
    pub(crate) async fn ask(&mut self) -> anyhow::Result<String> {
        self.seen.with(Vec::clear);
        let line = Bytes::from_static(b"\n");
        match &mut self.input {
            Input::Ours(input) => input.stdin(&line).await?,
            Input::Bare(input) => input.write(line).await?,
        }
        self.wait("an answer", |pieces| {
            let text = text(pieces);
            text.split_once('\n').map(|(line, _)| line.to_owned())
        })
        .await
    }

    /// The longest time in which it wrote nothing, from its last words before `from` until its
    /// first after `to`.
    pub(crate) async fn longest_gap(&self, from: Instant, to: Instant) -> anyhow::Result<Duration> {
        self.wait("a beat after it stood still", |pieces| {
            let times: Vec<_> = pieces.iter().map(|(at, _)| *at).collect();
            gap(&times, from, to)
        })
        .await
    }

    async fn wait<T>(
        &self,
        what: &str,
        look: impl Fn(&[(Instant, Bytes)]) -> Option<T>,
    ) -> anyhow::Result<T> {
        let wait = async {
            loop {
                let changed = self.seen.changed.notified();
                if let Some(found) = self.seen.with(|pieces| look(pieces)) {
                    return Ok(found);
                }
                if self.reader.is_finished() {
                    let said = self.seen.with(|pieces| text(pieces));
                    anyhow::bail!("a program in the guest ended: {said}");
                }
                // Looked at again now and then, for the end of the reader is not told.
                let again = Duration::from_millis(200);
                let _ = tokio::time::timeout(again, changed).await;
            }
        };
        tokio::time::timeout(LIMIT, wait)
            .await
            .with_context(|| format!("a program in the guest did not give {what}"))?
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It holds the output; without that, the program is ended.
        self.reader.abort();
    }
}

async fn next(output: &mut ExecOutput) -> Option<Bytes> {
    match output.next().await {
        Ok(ExecStep::Stdout(bytes) | ExecStep::Stderr(bytes)) => Some(bytes),
        Ok(ExecStep::Exit(_)) | Err(_) => None,
    }
}

fn argv<'a>(program: &'a str, args: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    ["python3", "-c", program]
        .into_iter()
        .chain(args.iter().copied())
}

fn text(pieces: &[(Instant, Bytes)]) -> String {
    let bytes: Vec<u8> = pieces
        .iter()
        .flat_map(|(_, bytes)| bytes.to_vec())
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The longest time between two of `times`, from the last before `from` to the first after `to`;
/// `None` while there is none after it.
fn gap(times: &[Instant], from: Instant, to: Instant) -> Option<Duration> {
    let first = times.iter().rposition(|at| *at <= from).unwrap_or_default();
    let last = times.iter().position(|at| *at > to)?;
    let window = times.get(first..=last)?;
    let gaps = window.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max()
}

#[cfg(test)]
mod test {
    use std::time::{Duration, Instant};

    use super::gap;

    #[test]
    fn the_longest_gap_is_looked_for_around_the_window_only() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let beats: Vec<_> = [0, 50, 52, 54, 84, 86, 186].into_iter().map(at).collect();
        let found = gap(&beats, at(53), at(85));
        assert_eq!(found, Some(Duration::from_millis(30)));
        assert_eq!(gap(&beats, at(53), at(186)), None, "no beat yet");
        assert_eq!(gap(&[], at(0), at(1)), None);
    }
}
