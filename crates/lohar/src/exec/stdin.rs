//! Carrying a command's standard input from its stream to its pipe.
//!
//! It has a stream of its own, so that a command that does not read holds up nothing but its
//! input: signals and the end of the command's own stream still come through.

use futures::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use yamux::Stream;

use super::registry::{Registry, TakenStdin};
use crate::probe::Probe;

/// How much is carried at once, in bytes: what a pipe takes at once without being split.
const CHUNK: usize = 16 * 1024;

/// Carries until the stream ends, the command closes its end, or the command ends.
pub(crate) async fn carry(
    registry: &Registry,
    id: u64,
    mut stream: Stream,
    first: &[u8],
    probe: &Probe,
) {
    let Some(TakenStdin { mut pipe, ended }) = registry.take_stdin(id) else {
        return;
    };
    let carried = async {
        pipe.write_all(first).await.ok()?;
        let mut chunk = vec![0; CHUNK];
        loop {
            match stream.read(&mut chunk).await {
                Ok(read @ 1..) => pipe.write_all(&chunk[..read]).await.ok()?,
                Ok(0) | Err(_) => return Some(()),
            }
        }
    };
    let stream_ended = tokio::select! {
        carried = carried => carried.is_some(),
        () = ended.cancelled() => false,
    };
    // The daemon's end of the stream is the end of the input, but a lost link is not.
    if stream_ended && !probe.is_up().await {
        registry.keep_stdin(id, pipe);
    }
}
