//! The one error of this crate.

/// A value that was refused, with the reason in words a user can act on.
///
/// Displays as one line: `invalid sandbox name "a/b": may hold only …`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {given:?}: {reason}")]
pub struct Invalid {
    /// What the value was meant to be, such as `sandbox name`.
    pub what: &'static str,
    /// The value as given, shortened so that a reply stays short.
    pub given: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Invalid {
    /// Longest part of a refused value that is repeated in the message, in characters.
    const SHOWN: usize = 80;

    /// Makes the error, shortening `given` to what is fit to be shown.
    pub fn new(what: &'static str, given: &str, reason: impl Into<String>) -> Self {
        let mut shown: String = given.chars().take(Self::SHOWN).collect();
        if shown.len() < given.len() {
            shown.push('…');
        }
        Self {
            what,
            given: shown,
            reason: reason.into(),
        }
    }
}
