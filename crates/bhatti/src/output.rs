//! What a command says: results to standard output, the rest to standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use serde::Serialize;

use crate::args::{Colour, GlobalArgs};
use crate::config::environment::Environment;
use crate::failure::Failure;
use crate::style::{ASIDE, BAD, GOOD, Paint};

/// How the two streams are to be used.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    form: Form,
    out: Paint,
    err: Paint,
    /// Whether standard error is a terminal on which a line may move.
    pub(crate) lively: bool,
    /// Whether there is somebody to ask.
    pub(crate) asks: bool,
}

/// Who reads the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    People,
    Json,
}

impl Ui {
    /// Looks at flags, environment and streams.
    pub(crate) fn new(globals: &GlobalArgs, environment: &Environment) -> Self {
        let plain = environment.plain();
        let paint = |terminal: bool| match globals.color {
            Colour::Always => Paint::Colour,
            Colour::Auto if terminal && !plain => Paint::Colour,
            Colour::Auto | Colour::Never => Paint::Plain,
        };
        let stderr = io::stderr().is_terminal();
        Self {
            form: if globals.json {
                Form::Json
            } else {
                Form::People
            },
            out: paint(io::stdout().is_terminal()),
            err: paint(stderr),
            lively: stderr && !plain,
            asks: stderr && io::stdin().is_terminal(),
        }
    }

    /// Whether results go out as JSON.
    pub(crate) fn json(&self) -> bool {
        self.form == Form::Json
    }

    /// A result: as JSON, or in the words that `people` has for it.
    pub(crate) fn show<T: Serialize>(
        &self,
        value: &T,
        people: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let mut text = match self.form {
            Form::People => people(),
            Form::Json => serde_json::to_string_pretty(value)
                .expect("what is shown has text keys and finite numbers"),
        };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        write(text.as_bytes())
    }

    /// The mark of a thing done.
    pub(crate) fn tick(&self) -> String {
        self.out.text(GOOD, "✓")
    }

    /// Something to know that is no result, for people only.
    pub(crate) fn note(&self, text: impl Display) {
        if self.form == Form::People {
            // Standard error may be gone; that is no failure.
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Something that may be wrong.
    pub(crate) fn warn(&self, text: impl Display) {
        // As above.
        let _ = writeln!(io::stderr(), "{} {text}", self.err.text(ASIDE, "warning:"));
    }

    /// The end of a command that failed: one line, and a hint if there is one.
    pub(crate) fn fail(&self, message: impl Display, hint: Option<&str>) {
        fail(self.err, message, hint);
    }
}

/// Says that a command failed, before there is a [`Ui`] too.
pub(crate) fn fail(paint: Paint, message: impl Display, hint: Option<&str>) {
    let error = paint.text(BAD, "error:");
    let text = match hint {
        Some(hint) => format!(
            "{error} {message}\n\n{} {hint}\n",
            paint.text(ASIDE, "hint:")
        ),
        None => format!("{error} {message}\n"),
    };
    // There is nobody left to tell if standard error is gone.
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Writes to standard output and flushes.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(|source| Failure::Stdout { source })
}
