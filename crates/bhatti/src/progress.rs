//! The line that moves while something takes long.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep_until};

use crate::output::Ui;

/// What is over before this needs no line.
const PATIENCE: Duration = Duration::from_millis(150);
/// How often the line moves.
const TICK: Duration = Duration::from_millis(100);

/// Waits for `work`; on a terminal, and if it takes long, with a line that says `what` and since
/// when. The line is gone afterwards.
pub(crate) async fn with_progress<T>(ui: &Ui, what: String, work: impl Future<Output = T>) -> T {
    if !ui.lively {
        return work.await;
    }
    tokio::pin!(work);
    tokio::select! {
        biased;
        result = &mut work => return result,
        () = sleep_until(Instant::now() + PATIENCE) => {}
    }
    let line = ProgressBar::new_spinner().with_message(what);
    line.set_style(
        ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}")
            .expect("the template above is well formed"),
    );
    line.enable_steady_tick(TICK);
    let result = work.await;
    line.finish_and_clear();
    result
}
