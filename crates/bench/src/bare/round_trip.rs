//! A bare round trip over a unix socket: connect, ask, be answered.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream as BlockingStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Length of a question, in bytes: about that of a small HTTP request.
const QUESTION: usize = 128;

/// A server that answers each connection with as many bytes as it is asked for. It has a thread
/// of its own, as a daemon has a process of its own.
#[derive(Debug)]
pub(crate) struct Answerer {
    socket: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Answerer {
    /// Begins to answer.
    pub(crate) fn start(socket: PathBuf) -> anyhow::Result<Self> {
        let listener = UnixListener::bind(&socket)?;
        let thread = std::thread::Builder::new().spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                // A question of zero bytes is the end.
                if !matches!(answer(stream), Ok(length) if length > 0) {
                    return;
                }
            }
        })?;
        Ok(Self {
            socket,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
}

fn answer(mut stream: BlockingStream) -> std::io::Result<usize> {
    let mut question = [0; QUESTION];
    stream.read_exact(&mut question)?;
    let mut length = [0; 8];
    length.copy_from_slice(&question[..8]);
    let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or_default();
    stream.write_all(&vec![b'x'; length])?;
    Ok(length)
}

/// Asks for `length` bytes, at least one, and waits for them.
pub(crate) async fn ask(socket: &Path, length: usize) -> anyhow::Result<()> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(&question(length)).await?;
    let mut answer = Vec::with_capacity(length);
    stream.read_to_end(&mut answer).await?;
    anyhow::ensure!(
        answer.len() == length,
        "the answer is {} bytes",
        answer.len()
    );
    Ok(())
}

fn question(length: usize) -> [u8; QUESTION] {
    let mut question = [0; QUESTION];
    question[..8].copy_from_slice(&(length as u64).to_le_bytes());
    question
}

impl Drop for Answerer {
    fn drop(&mut self) {
        if let Ok(mut stream) = BlockingStream::connect(&self.socket) {
            // It ends by the question or by the connection's end.
            let _ = stream.write_all(&question(0));
        }
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod test {
    use super::{Answerer, ask};

    #[tokio::test]
    async fn answers_are_as_long_as_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let answerer = Answerer::start(dir.path().join("s")).unwrap();
        for length in [1, 300_000] {
            ask(answerer.socket(), length).await.unwrap();
        }
    }
}
