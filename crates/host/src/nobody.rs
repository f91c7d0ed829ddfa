//! The user that programs run as which read what tenants have written.

use std::io;
use std::path::Path;

use rustix::fs::{Gid, Uid, chown};

use crate::command::Command;

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65534;

/// Gives files to nobody, if this process may choose that; otherwise they stay its own.
pub fn give<'a>(paths: impl IntoIterator<Item = &'a Path>) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (owner, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    for path in paths {
        chown(path, Some(owner), Some(group))?;
    }
    Ok(())
}

/// The beginning of a command that runs as nobody, if this process may choose that, and can't gain
/// rights. The program and its arguments follow.
pub fn command() -> Command {
    let command = Command::new("setpriv").arg("--no-new-privs");
    if !rustix::process::geteuid().is_root() {
        return command;
    }
    command
        .arg(format!("--reuid={NOBODY}"))
        .arg(format!("--regid={NOBODY}"))
        .args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"])
}
