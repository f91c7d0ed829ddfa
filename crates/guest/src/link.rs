//! The link: opening it, what ends it, and the calls that have one answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::agent::{AgentInfo, AgentStatus};
use crate::exec::{Command, Detached, Exec};
use crate::identity::Identity;

/// How to greet the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// Whether the agent may stand in the middle of an older conversation: after a restore, or
    /// when an earlier daemon was connected. `false` for a guest that has just been started.
    pub resync: bool,
    /// How long to wait for the agent.
    pub limit: Duration,
}

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
    /// The byte stream failed.
    #[error("the byte stream of the agent link failed")]
    Io {
        /// How.
        #[source]
        source: std::io::Error,
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
    #[error("the guest broke the rules of the agent link: {what}")]
    Misbehaved {
        /// Which rule.
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
    /// The guest has reached a limit of its own.
    Busy,
    /// The guest's system failed to do it.
    Failed,
    /// The agent does not know the operation: it is older than this daemon.
    Unsupported,
}

/// A link to one guest's agent. Clones share it.
#[derive(Debug, Clone)]
pub struct Link {
    inner: Arc<()>,
}

impl Link {
    /// Greets the agent and takes the link into use.
    pub async fn open<S>(stream: S, greeting: Greeting) -> Result<Self, LinkError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        drop(stream);
        Err(LinkError::Silent { limit: greeting.limit })
    }

    /// What the agent said of itself.
    pub fn agent(&self) -> &AgentInfo {
        unimplemented!()
    }

    /// Waits until the link has ended, and says why.
    pub async fn closed(&self) -> Arc<LinkError> {
        unimplemented!()
    }

    /// Whether the link has not ended.
    pub fn is_open(&self) -> bool {
        unimplemented!()
    }

    /// Asks for a sign of life.
    pub async fn ping(&self, _limit: Duration) -> Result<(), CallError> {
        unimplemented!()
    }

    /// Gives the guest its identity.
    pub async fn identity(&self, _identity: &Identity, _limit: Duration) -> Result<(), CallError> {
        unimplemented!()
    }

    /// Flushes the guest's file systems to their disks.
    pub async fn sync(&self, _limit: Duration) -> Result<(), CallError> {
        unimplemented!()
    }

    /// Begins an orderly power-off. The link ends soon after.
    pub async fn power_off(&self, _limit: Duration) -> Result<(), CallError> {
        unimplemented!()
    }

    /// Asks the agent how it is doing.
    pub async fn status(&self, _limit: Duration) -> Result<AgentStatus, CallError> {
        unimplemented!()
    }

    /// Starts a command.
    pub async fn exec(&self, _command: &Command) -> Result<Exec, CallError> {
        unimplemented!()
    }

    /// Starts a command that is left to itself, its output going to a file in the guest.
    pub async fn exec_detached(
        &self,
        _command: &Command,
        _output_file: Option<&str>,
    ) -> Result<Detached, CallError> {
        unimplemented!()
    }
}
