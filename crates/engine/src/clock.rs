//! The monotonic clock.

use std::time::Instant;

/// Now, by the runtime's clock, which timers go by: a test may have paused it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
