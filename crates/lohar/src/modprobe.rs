//! What the kernel runs when it wants a module.

#![expect(
    clippy::disallowed_methods,
    reason = "a process of its own that has nothing else to do"
)]

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::init::{klog, on_demand};

/// What the kernel would run without us; an image may bring modules of its own for it.
const IMAGE_S_OWN: &str = "/sbin/modprobe";

/// Loads a module of the guest kit; one that is not there is left to the image.
pub fn main(program: &str, name: &str) -> ExitCode {
    match on_demand::load(Path::new(program), name) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => klog::say(&format!("failed to load the module {name}: {error}")),
    }
    // An image without one is the usual case, and that a module is missing is for the kernel to say
    // to whoever wanted it.
    let _ = Command::new(IMAGE_S_OWN).args(["-q", "--", name]).exec();
    ExitCode::FAILURE
}
