//! Colour, which nothing depends on.

use std::fmt::Display;

use anstyle::{AnsiColor, Style};

/// A result that came about.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// The word `error`.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// The word `hint`, and headings.
pub(crate) const ASIDE: Style = AnsiColor::Cyan.on_default();

/// Whether a stream takes colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    /// It does.
    Colour,
    /// It gets plain text.
    Plain,
}

impl Paint {
    /// Text in a style, if there is colour.
    pub(crate) fn text(self, style: Style, text: impl Display) -> String {
        match self {
            Self::Colour => format!("{style}{text}{style:#}"),
            Self::Plain => text.to_string(),
        }
    }
}
