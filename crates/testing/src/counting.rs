//! A command that counts aloud: twenty numbers a second, each in a line of its output, and the last
//! one in a file in tmpfs for those who do not see its output.

use std::time::Duration;

use bhatti_api::exec::ExecRequest;

use crate::guest::{Guest, as_root};
use crate::wait::wait_for;

const PROGRAM: &str = "
import itertools, os, time
file = os.open('/dev/shm/number', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
for number in itertools.count():
    print(number, flush=True)
    os.pwrite(file, b'%d' % number, 0)
    time.sleep(0.05)
";
/// Time for the number to grow.
const LIMIT: Duration = Duration::from_secs(20);

/// The command. It does not end by itself before its time is up.
pub fn command() -> ExecRequest {
    as_root(&["python3", "-c", PROGRAM])
}

/// The number it has come to; at least one line must have come from it before.
///
/// # Panics
/// If there is none.
pub async fn number(guest: &Guest) -> u64 {
    let text = guest.sh("cat /dev/shm/number").await;
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// Waits until it has gone on from a number.
///
/// # Panics
/// If it stands still.
pub async fn goes_on_from(guest: &Guest, from: u64) -> u64 {
    wait_for("the number to grow", LIMIT, async || {
        let now = number(guest).await;
        if now > from { Ok(now) } else { Err(now) }
    })
    .await
}
