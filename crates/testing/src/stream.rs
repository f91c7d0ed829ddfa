//! Commands run over the WebSocket, as the command line runs them, with all that they wrote.

use std::convert::Infallible;
use std::future::pending;

use bhatti_api::exec::ExecRequest;
use bhatti_client::client::Client;
use bhatti_client::error::Error;
use bhatti_client::exec::{ExecExit, ExecInput, ExecOutput, ExecStep};

/// What a command wrote and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streamed {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Its end.
    pub exit: ExecExit,
}

impl Streamed {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// Runs a command to its end. `stdin` is passed to it and then ended if the request says that
/// there is any.
pub async fn run(
    client: &Client,
    sandbox: &str,
    request: &ExecRequest,
    stdin: &[u8],
) -> Result<Streamed, Error> {
    let (input, mut output) = client.exec_start(sandbox, request).await?;
    let write = feed(input, request.stdin.then_some(stdin));
    tokio::select! {
        streamed = rest(&mut output) => streamed,
        never = write => match never {},
    }
}

/// Reads all that a command still writes, and its end.
pub async fn rest(output: &mut ExecOutput) -> Result<Streamed, Error> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match output.next().await? {
            ExecStep::Stdout(bytes) => stdout.extend_from_slice(&bytes),
            ExecStep::Stderr(bytes) => stderr.extend_from_slice(&bytes),
            ExecStep::Exit(exit) => {
                return Ok(Streamed {
                    stdout,
                    stderr,
                    exit,
                });
            }
        }
    }
}

/// Reads what a command writes to its standard output until that ends with `mark`.
///
/// # Panics
/// If it ends first, or writes to its standard error.
pub async fn until(output: &mut ExecOutput, mark: &str) {
    let mut seen = Vec::new();
    while !seen.ends_with(mark.as_bytes()) {
        let step = output.next().await;
        match step.expect("the command's output is read") {
            ExecStep::Stdout(bytes) => seen.extend_from_slice(&bytes),
            other => panic!("no {mark:?} after {seen:?}, but {other:?}"),
        }
    }
}

/// Passes on all of the input and then holds the way in open: dropping it is going away.
async fn feed(mut input: ExecInput, stdin: Option<&[u8]>) -> Infallible {
    if let Some(stdin) = stdin
        && input.stdin(stdin).await.is_ok()
    {
        // The command may have ended without reading, and the connection with it.
        let _ = input.stdin_end().await;
    }
    pending().await
}
