//! Waiting for a condition, with a limit and the last status for the failure's message.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long to pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Calls `look` until it gives `Ok`, and gives that.
///
/// # Panics
/// If the limit passes first, with what `look` said last.
#[track_caller]
pub fn wait_for<T, S: Debug>(
    what: &str,
    limit: Duration,
    look: impl AsyncFnMut() -> Result<T, S>,
) -> impl Future<Output = T> {
    wait(what.to_owned(), limit, look, std::panic::Location::caller())
}

async fn wait<T, S: Debug>(
    what: String,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, S>,
    caller: &'static std::panic::Location<'static>,
) -> T {
    let end = Instant::now() + limit;
    loop {
        match look().await {
            Ok(value) => return value,
            Err(status) => {
                assert!(
                    Instant::now() < end,
                    "{caller}: {what} did not come in {limit:?}; last: {status:?}"
                );
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
