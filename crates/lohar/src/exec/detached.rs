//! A command that is left to itself.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::kill;
use super::registry::Place;
use crate::reaper::Ended;

/// The output file of a command that names none. Its name is random, so that it is nobody's
/// yet whoever else writes to `/tmp`.
pub(crate) fn output_file() -> Result<PathBuf, getrandom::Error> {
    let number = getrandom::u64()?;
    Ok(PathBuf::from(format!("/tmp/bhatti-exec-{number:016x}.log")))
}

/// Waits for the end of a command, and ends it when its time is up or the agent stops.
pub(crate) async fn watch(
    pid: u32,
    mut ended: oneshot::Receiver<Ended>,
    limit: Option<Duration>,
    stop: CancellationToken,
    _place: Place,
) {
    let time_is_up = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // Its exit code is nobody's; an error means that it could not be waited for.
        _ = &mut ended => return,
        () = time_is_up => {}
        () = stop.cancelled() => {}
    }
    kill::session(pid);
    let _ = ended.await;
}
