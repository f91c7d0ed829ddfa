//! Between a terminal in a sandbox and the one that this process has.

use std::io::{self, IsTerminal as _};

use bhatti_client::client::Client;
use bhatti_client::error::Error;
use bhatti_client::shell::{ShellInput, ShellOutput, ShellRequest, ShellStep};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::env;
use crate::failure::Failure;
use crate::run::Context;

/// The key that detaches: Ctrl+\.
const DETACH: u8 = 0x1c;
/// Keys read at once, in bytes.
const KEYS: usize = 4096;

/// How an attached terminal ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Its program did, with this code.
    Exit(i32),
    /// By the key for it.
    Detached { session: String },
    /// Another client has it.
    TakenOver { session: String },
    /// The connection broke.
    Lost { session: String },
}

/// This process's terminal in raw mode: every key goes to the sandbox. As it was when dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Self, Failure> {
        let stdin = io::stdin();
        let failed = |error: rustix::io::Errno| Failure::Io {
            what: "take the terminal over",
            source: error.into(),
        };
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw).map_err(failed)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // There is nobody to tell if the terminal is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Attaches this process's terminal until the program ends or the user detaches.
pub(crate) async fn attach(
    client: &Client,
    sandbox: &str,
    mut request: ShellRequest,
    context: &Context,
) -> Result<Ended, Failure> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(Failure::Said {
            message: "standard input and output must be a terminal".to_owned(),
            hint: Some(format!("run single commands by `bhatti exec {sandbox}`")),
        });
    }
    request.size = size();
    request.term = context.environment.get(env::TERM).map(str::to_owned);
    let mut resized = signal(SignalKind::window_change()).map_err(|source| Failure::Io {
        what: "listen for signals",
        source,
    })?;
    let (mut input, mut output) = client.shell(sandbox, &request).await?;
    let ShellStep::Attached { session, .. } = output.next().await? else {
        return Err(Failure::Call(Error::ExecBroken { source: None }));
    };
    // A command ends with its terminal: there is nothing to detach from, and the key is its own.
    let detach = request.exec.is_none().then_some(DETACH);
    let _raw = Raw::enter()?;
    tokio::select! {
        ended = show(&mut output, &session) => ended,
        ended = pass_on(&mut input, &mut resized, &session, detach) => ended,
    }
}

/// Shows what comes until the end.
async fn show(output: &mut ShellOutput, session: &str) -> Result<Ended, Failure> {
    let session = session.to_owned();
    let mut stdout = tokio::io::stdout();
    loop {
        match output.next().await {
            Ok(ShellStep::Output(bytes)) => {
                let written = async {
                    stdout.write_all(&bytes).await?;
                    stdout.flush().await
                };
                written.await.map_err(|source| Failure::Stdout { source })?;
            }
            Ok(ShellStep::Exit(code)) => return Ok(Ended::Exit(code)),
            Ok(ShellStep::TakenOver) => return Ok(Ended::TakenOver { session }),
            Ok(ShellStep::Attached { .. }) => {}
            Err(Error::ExecBroken { .. }) => return Ok(Ended::Lost { session }),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Passes keys and sizes on until the key that detaches.
async fn pass_on(
    input: &mut ShellInput,
    resized: &mut Signal,
    session: &str,
    detach: Option<u8>,
) -> Result<Ended, Failure> {
    let detached = || Ended::Detached {
        session: session.to_owned(),
    };
    let mut stdin = tokio::io::stdin();
    let mut keys = vec![0; KEYS];
    loop {
        let sent = tokio::select! {
            read = stdin.read(&mut keys) => match read {
                // The terminal is gone.
                Ok(0) | Err(_) => return Ok(detached()),
                Ok(length) => match keys[..length].iter().position(|key| Some(*key) == detach) {
                    Some(at) => {
                        // What was typed before it still counts.
                        let _ = input.keys(&keys[..at]).await;
                        return Ok(detached());
                    }
                    None => input.keys(&keys[..length]).await,
                },
            },
            _ = resized.recv() => match size() {
                Some((rows, cols)) => input.resize(rows, cols).await,
                None => Ok(()),
            },
        };
        if sent.is_err() {
            // The other way has the reason.
            return std::future::pending().await;
        }
    }
}

fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    Some((size.ws_row, size.ws_col))
}
