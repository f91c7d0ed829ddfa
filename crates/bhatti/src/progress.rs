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

/// A line that says how much was sent. Clones share it; it is gone with the last of them.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    line: Option<std::sync::Arc<Line>>,
}

#[derive(Debug)]
struct Line(ProgressBar);

impl Drop for Line {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

impl Sending {
    /// Begins to send; on a terminal with a line that says `what`.
    pub(crate) fn begin(ui: &Ui, what: String, length: Option<u64>) -> Self {
        if !ui.lively {
            return Self { line: None };
        }
        let template = match length {
            Some(_) => "{spinner} {msg} {bar:30} {bytes}/{total_bytes}",
            None => "{spinner} {msg} {bytes} {elapsed:.dim}",
        };
        let bar = length.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        bar.set_style(
            ProgressStyle::with_template(template).expect("the templates above are well formed"),
        );
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        Self {
            line: Some(std::sync::Arc::new(Line(bar))),
        }
    }

    /// So many bytes more were sent.
    pub(crate) fn add(&self, bytes: u64) {
        if let Some(line) = &self.line {
            line.0.inc(bytes);
        }
    }

    /// All was sent; the daemon works on.
    pub(crate) fn sent(&self) {
        if let Some(line) = &self.line {
            line.0.set_message("all sent; the daemon converts it");
        }
    }
}
