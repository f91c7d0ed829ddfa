//! What the person is told while it runs. Standard output is for the table alone.

use std::io::Write as _;

/// Says a line.
pub(crate) fn say(text: &str) {
    // Nobody is left to be told that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Gives a result.
pub(crate) fn give(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
