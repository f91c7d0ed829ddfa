//! Says what is being done, and runs the developer's own tools in plain sight.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// Tells the person something. Standard output stays free for data.
pub(crate) fn say(text: &str) {
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Announces a step and returns when it began.
pub(crate) fn step(text: &str) -> Instant {
    say(&format!("==> {text}"));
    Instant::now()
}

/// Tells that a step is done, and how long it took.
pub(crate) fn done(began: Instant, text: &str) {
    say(&format!("    {text} ({})", seconds(began.elapsed())));
}

/// A time as people read it.
pub(crate) fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        whole => format!("{} min {} s", whole / 60, whole % 60),
    }
}

/// A tool that is run as the developer would run it: with their environment, and its output on
/// their terminal. (Host programs of the product run through `bhatti_host::command` instead.)
pub(crate) fn tool(program: impl AsRef<OsStr>, dir: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(program);
    command
        .current_dir(dir)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a tool to its end. An error if it fails.
pub(crate) async fn finish(mut command: tokio::process::Command) -> anyhow::Result<()> {
    let shown = show(command.as_std());
    say(&format!("    $ {shown}"));
    let status = command
        .status()
        .await
        .with_context(|| format!("failed to run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// A command as it would be typed.
fn show(command: &std::process::Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(program).chain(command.get_args());
    let words: Vec<_> = words
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod test {
    use std::time::Duration;

    use super::seconds;

    #[test]
    fn times_are_short() {
        assert_eq!(seconds(Duration::from_millis(1240)), "1.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
    }
}
