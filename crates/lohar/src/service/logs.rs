//! Gives what the program wrote, over a stream.

use std::io;
use std::sync::Arc;

use bhatti_proto::codec::{self, MAX_MESSAGE};
use bhatti_proto::message::{RefusalKind, Reply, reply};
use bhatti_proto::service::Logs;
use futures::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use yamux::Stream;

use super::log::{Log, Position};

/// Gives what is asked for. Comes back when that is done, or when the daemon has ended the stream.
pub(crate) async fn give(
    log: Option<Arc<Log>>,
    asked: Logs,
    stream: Stream,
    stop: &CancellationToken,
) {
    let (mut reader, mut writer) = stream.split();
    let giving = async {
        let last = match log {
            Some(log) => match carry(log, asked, &mut writer).await {
                Ok(()) => Reply::done(),
                Err(Failed::Stream) => return,
                Err(Failed::Log(error)) => Reply::refused(
                    RefusalKind::Failed,
                    format!("cannot read the program's log: {error}"),
                ),
            },
            None => Reply::done(),
        };
        if codec::write(&mut writer, &last, MAX_MESSAGE).await.is_ok() {
            // Whoever asked may have lost interest.
            let _ = writer.close().await;
        }
    };
    let mut byte = [0];
    tokio::select! {
        () = giving => {}
        // The daemon has nothing more to say: whatever comes here is the end of the stream.
        _ = reader.read(&mut byte) => {}
        () = stop.cancelled() => {}
    }
}

enum Failed {
    /// The stream has ended.
    Stream,
    /// The log cannot be read.
    Log(io::Error),
}

async fn carry(log: Arc<Log>, asked: Logs, writer: &mut WriteHalf<Stream>) -> Result<(), Failed> {
    // Before anything is read, so that nothing written later is missed.
    let mut written = log.watch();
    let begin = {
        let log = Arc::clone(&log);
        blocking(move || log.begin(asked.tail)).await?
    };
    let mut at: Position = begin;
    loop {
        written.mark_unchanged();
        let read = {
            let log = Arc::clone(&log);
            blocking(move || log.read(at)).await?
        };
        let piece;
        (piece, at) = read;
        if !piece.is_empty() {
            let message = Reply::new(reply::Op::Stdout(piece.into()));
            let sent = codec::write(writer, &message, MAX_MESSAGE).await;
            sent.map_err(|_| Failed::Stream)?;
            continue;
        }
        // The log is in `self` of the supervisor, so its sender is there.
        if !asked.follow || written.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failed> {
    match spawn_blocking(read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(Failed::Log(error)),
        Err(error) => Err(Failed::Log(io::Error::other(error))),
    }
}
