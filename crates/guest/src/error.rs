//! What goes wrong with links and calls.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bhatti_proto::message::{RefusalKind, Refused};

/// Longest text taken over from a guest, in characters.
const MAX_TEXT: usize = 500;

/// Why a link could not be opened, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The agent did not answer in time.
    #[error("the guest agent did not answer within {limit:?}")]
    Silent {
        /// The time it had.
        limit: Duration,
    },
    /// The other end is gone: the VMM ended or closed the port.
    #[error("the guest's end of the agent link is closed")]
    Gone,
    /// All handles on this side were dropped.
    #[error("the agent link was closed by this side")]
    Closed,
    /// There is no byte stream to the agent.
    #[error("failed to connect to the guest agent")]
    Connect {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The byte stream failed.
    #[error("the byte stream of the agent link failed")]
    Io {
        /// How.
        #[source]
        source: io::Error,
    },
    /// The agent speaks a protocol this daemon does not.
    #[error("the guest agent speaks protocol {theirs}, this daemon speaks {ours}")]
    Version {
        /// The agent's version.
        theirs: u32,
        /// This side's version.
        ours: u32,
    },
    /// The guest sent what no agent sends.
    #[error("the guest broke the rules of the agent link: it {what}")]
    Misbehaved {
        /// What it did.
        what: String,
    },
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The link ended, before the call or during it.
    #[error("the agent link is down")]
    Link {
        /// Why it ended.
        #[source]
        source: Arc<LinkError>,
    },
    /// The agent did not do it in time.
    #[error("the guest agent did not {what} within {limit:?}")]
    TimedOut {
        /// What was asked of it.
        what: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// The agent refused, with a reason that is fit for the user.
    #[error("{message}")]
    Refused {
        /// The kind of reason.
        kind: RefusedKind,
        /// One printable line, bounded.
        message: String,
    },
    /// The request does not fit the protocol.
    #[error("the {what} is too large for the agent link")]
    TooLarge {
        /// Which part of it.
        what: &'static str,
    },
    /// The answer was not one to this request; the call is over, the link goes on.
    #[error("the guest agent gave a wrong answer: {what}")]
    Protocol {
        /// What was wrong with it.
        what: &'static str,
    },
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedKind {
    /// There is no such program: a shell's 127.
    NotFound,
    /// The file cannot be executed: a shell's 126.
    NotExecutable,
    /// There is no such user or group.
    NoSuchUser,
    /// The working directory cannot be used.
    BadCwd,
    /// The output file of a detached command cannot be used.
    BadOutput,
    /// The request is not well formed.
    Invalid,
    /// A limit on what goes on at once is reached.
    Busy,
    /// The guest's system failed to do it.
    Failed,
    /// The agent does not know the operation: it is older than this daemon.
    Unsupported,
    /// Nothing listens there.
    NotListening,
}

impl From<Refused> for CallError {
    fn from(refused: Refused) -> Self {
        let kind = match refused.kind() {
            RefusalKind::NotFound => RefusedKind::NotFound,
            RefusalKind::NotExecutable => RefusedKind::NotExecutable,
            RefusalKind::NoSuchUser => RefusedKind::NoSuchUser,
            RefusalKind::BadCwd => RefusedKind::BadCwd,
            RefusalKind::BadOutput => RefusedKind::BadOutput,
            RefusalKind::Invalid => RefusedKind::Invalid,
            RefusalKind::Busy => RefusedKind::Busy,
            RefusalKind::Failed => RefusedKind::Failed,
            RefusalKind::Unsupported => RefusedKind::Unsupported,
            RefusalKind::NotListening => RefusedKind::NotListening,
        };
        Self::Refused {
            kind,
            message: printable(&refused.message),
        }
    }
}

/// Text of a guest's, made fit to be shown: one bounded line without control characters.
pub(crate) fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().take(MAX_TEXT).map(shown).collect()
}

#[cfg(test)]
mod test {
    use super::printable;

    #[test]
    fn a_guests_text_cannot_steer_a_terminal_or_fill_a_log() {
        assert_eq!(printable("no\x1b[2J\nsuch"), "no\u{fffd}[2J\u{fffd}such");
        assert_eq!(printable(&"x".repeat(100_000)).len(), super::MAX_TEXT);
    }
}
