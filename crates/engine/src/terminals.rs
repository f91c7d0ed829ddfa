//! Terminals in sandboxes.

use std::time::Duration;

use bhatti_guest::terminal::{NewTerminal, SessionInfo, Size, Terminal, Wanted};

use crate::commands::command;
use crate::engine::{Engine, shortened};
use crate::error::Error;
use crate::request::{Caller, NewExec};
use crate::sandbox::leases::Lease;

/// Time for the agent to list its terminals.
const LIST_LIMIT: Duration = Duration::from_secs(10);

/// A terminal to attach to.
#[derive(Debug, Clone)]
pub struct NewShell {
    /// Which one.
    pub wanted: Wanted,
    /// What runs in a new one; the user's shell if `None`.
    pub exec: Option<NewExec>,
    /// How large it is.
    pub size: Option<Size>,
    /// Its kind, for the variable `TERM`.
    pub term: Option<String>,
}

impl Engine {
    /// Attaches to a terminal, waking the sandbox if need be. The sandbox stays hot until the
    /// [`Lease`] is dropped; the session goes on without anybody attached.
    pub async fn terminal(
        &self,
        caller: &Caller,
        key: &str,
        new: NewShell,
    ) -> Result<(Terminal, Lease), Error> {
        let program = new.exec.as_ref().and_then(|exec| exec.argv.first());
        let what = match program {
            Some(program) => format!("exec -t {}", shortened(program)),
            None => "shell".to_owned(),
        };
        let lease = self
            .find(caller, key)?
            .lease(&what, self.wake_limit)
            .await?;
        let new = NewTerminal {
            wanted: new.wanted,
            command: new.exec.map(command).unwrap_or_default(),
            size: new.size,
            term: new.term,
        };
        let terminal = lease.link.terminal(&new).await?;
        Ok((terminal, lease))
    }

    /// The sandbox's terminals, oldest first. Wakes it if need be.
    pub async fn sessions(&self, caller: &Caller, key: &str) -> Result<Vec<SessionInfo>, Error> {
        let lease = self.find(caller, key)?.lease("ps", self.wake_limit).await?;
        Ok(lease.link.sessions(LIST_LIMIT).await?)
    }
}
