//! Sets the clock.

use std::io;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

/// Differences below this are left alone, in nanoseconds: the way here takes about as long, and a
/// clock that is right should not jump.
const TOLERATED: i128 = 50_000_000;

/// Sets the wall clock to a time in nanoseconds since 1970, if it differs by more than 50 ms.
pub fn set(unix_nanos: u64) -> io::Result<()> {
    let now = clock_gettime(ClockId::CLOCK_REALTIME)?;
    let now = i128::from(now.tv_sec()) * 1_000_000_000 + i128::from(now.tv_nsec());
    if (now - i128::from(unix_nanos)).abs() <= TOLERATED {
        return Ok(());
    }
    let (seconds, nanos) = (unix_nanos / 1_000_000_000, unix_nanos % 1_000_000_000);
    let time = TimeSpec::new(seconds as i64, nanos as i64);
    Ok(clock_settime(ClockId::CLOCK_REALTIME, time)?)
}
