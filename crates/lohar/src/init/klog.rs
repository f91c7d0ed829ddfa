//! The kernel's log: the only place PID 1 can speak to before anyone listens.

use std::fmt::Display;
use std::io::Write as _;

/// Writes one line to `/dev/kmsg`. There is nobody to tell if that fails.
pub fn say(line: &str) {
    if let Ok(mut kmsg) = std::fs::OpenOptions::new().write(true).open("/dev/kmsg") {
        // In one write, for each is a line of its own there.
        let _ = kmsg.write_all(format!("lohar: {line}\n").as_bytes());
    }
}

/// Says what did not work and goes on.
pub fn note<T, E: Display>(what: &str, result: Result<T, E>) {
    if let Err(error) = result {
        say(&format!("failed to {what}: {error}"));
    }
}
