//! Asking the user.

use std::io::{self, Write as _};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::failure::Failure;
use crate::output::Ui;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: u64 = 4096;

/// Asks whether to do `what`, which cannot be undone. Without anybody to ask, `--yes` is needed.
pub(crate) fn confirm(ui: &Ui, yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !ui.asks {
        return Err(Failure::Said {
            message: format!("there is no terminal to ask on whether to {what}"),
            hint: Some("say it with --yes".to_owned()),
        });
    }
    let answer = ask(&format!("{what}? [y/N] "))?;
    match answer.to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Said {
            message: "nothing was done".to_owned(),
            hint: None,
        }),
    }
}

/// Asks for a line.
pub(crate) fn ask(prompt: &str) -> Result<String, Failure> {
    let failed = |source| Failure::Io {
        what: "read an answer from the terminal",
        source,
    };
    let mut err = io::stderr().lock();
    err.write_all(prompt.as_bytes())
        .and_then(|()| err.flush())
        .map_err(failed)?;
    let mut answer = String::new();
    let mut stdin = io::Read::take(io::stdin().lock(), MAX_ANSWER);
    io::BufRead::read_line(&mut stdin, &mut answer).map_err(failed)?;
    Ok(answer.trim().to_owned())
}

/// Asks for a line that is not to be seen.
pub(crate) fn ask_secret(prompt: &str) -> Result<String, Failure> {
    let stdin = io::stdin();
    let Ok(before) = tcgetattr(&stdin) else {
        return ask(prompt);
    };
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let set = |modes| {
        tcsetattr(&stdin, OptionalActions::Flush, modes).map_err(|error| Failure::Io {
            what: "change the terminal's echo",
            source: error.into(),
        })
    };
    set(&silent)?;
    let answer = ask(prompt);
    set(&before)?;
    // The newline that was typed was not shown either.
    let _ = writeln!(io::stderr());
    answer
}
