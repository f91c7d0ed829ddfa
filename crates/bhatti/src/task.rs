//! Waiting for work that the daemon does.

use std::collections::HashMap;
use std::time::Duration;

use bhatti_api::image::Image;
use bhatti_api::task::{Task, TaskPart};
use bhatti_client::client::Client;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep, timeout_at};

use crate::failure::Failure;
use crate::run::Context;
use crate::signals::Signals;

/// Pause between two looks at a task.
const LOOK: Duration = Duration::from_millis(200);
/// How often the line of what is done now moves.
const TICK: Duration = Duration::from_millis(100);
/// Time for a task that is given up to have cleaned up.
const CANCEL_LIMIT: Duration = Duration::from_secs(30);
/// As much of a digest as stands before a bar.
const DIGITS: usize = 12;

/// What a signal to this process means for the task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// It is given up.
    CancelOnSignal,
}

/// Waits for the end of a task, with bars on a terminal, and gives what it made.
pub(crate) async fn wait(context: &Context, id: &str, how: Wait) -> Result<Option<Image>, Failure> {
    let client = context.client();
    let mut signals = Signals::new()?;
    let mut bars = context.ui.lively.then(Bars::new);
    loop {
        let task = tokio::select! {
            task = client.task_get(id) => task?,
            signal = signals.next() => return Err(give_up(&client, id, signal, how).await),
        };
        match task.status.as_str() {
            "completed" => return Ok(task.result),
            "failed" => {
                return Err(Failure::Said {
                    message: task.error.unwrap_or_else(|| "it failed".to_owned()),
                    hint: task.hint,
                });
            }
            "cancelled" => {
                return Err(Failure::Said {
                    message: "it was cancelled".to_owned(),
                    hint: None,
                });
            }
            _ => {}
        }
        if let Some(bars) = &mut bars {
            bars.show(&task);
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            signal = signals.next() => return Err(give_up(&client, id, signal, how).await),
        }
    }
}

/// Cancels the task and waits until nothing is left of it.
async fn give_up(client: &Client, id: &str, signal: u8, how: Wait) -> Failure {
    let Wait::CancelOnSignal = how;
    let until = Instant::now() + CANCEL_LIMIT;
    let cancelled = async {
        let mut task = client.task_cancel(id).await?;
        while task.status == "running" {
            sleep(LOOK).await;
            task = client.task_get(id).await?;
        }
        Ok::<_, bhatti_client::error::Error>(())
    };
    match timeout_at(until, cancelled).await {
        Ok(Ok(())) => Failure::Interrupted { signal },
        Ok(Err(error)) => error.into(),
        Err(_) => Failure::Said {
            message: format!("task {id} does not end"),
            hint: None,
        },
    }
}

/// A bar for each layer, and a line for what is done now.
struct Bars {
    all: MultiProgress,
    line: ProgressBar,
    parts: HashMap<String, ProgressBar>,
}

impl Bars {
    fn new() -> Self {
        let all = MultiProgress::new();
        let line = all.add(ProgressBar::new_spinner());
        line.set_style(
            ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}")
                .expect("the template above is well formed"),
        );
        line.enable_steady_tick(TICK);
        Self {
            all,
            line,
            parts: HashMap::new(),
        }
    }

    fn show(&mut self, task: &Task) {
        let progress = &task.progress;
        let done = progress.done_bytes >> 20;
        let amount = match progress.total_bytes {
            Some(total) => format!(" {done}/{} MB", total.div_ceil(1 << 20)),
            None if done > 0 => format!(" {done} MB"),
            None => String::new(),
        };
        self.line.set_message(format!(
            "{} {}{amount}",
            printable(&progress.phase),
            printable(&task.subject)
        ));
        for part in &progress.parts {
            self.show_part(part);
        }
    }

    fn show_part(&mut self, part: &TaskPart) {
        let bar = self.parts.entry(part.name.clone()).or_insert_with(|| {
            let bar = self.all.insert_before(&self.line, ProgressBar::new(0));
            bar.set_style(
                ProgressStyle::with_template("  {prefix} {bar:30} {bytes}/{total_bytes} {msg}")
                    .expect("the template above is well formed"),
            );
            bar.set_prefix(short(&part.name));
            bar
        });
        bar.set_length(part.total_bytes.unwrap_or(part.done_bytes));
        bar.set_position(part.done_bytes);
        if part.complete && !bar.is_finished() {
            bar.finish_with_message("done");
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        // Nothing that moves is left on the terminal; the result says what came of it.
        let _ = self.all.clear();
    }
}

fn short(name: &str) -> String {
    let digits = name.split_once(':').map_or(name, |(_, digits)| digits);
    printable(&digits.chars().take(DIGITS).collect::<String>())
}

/// What cannot move a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
