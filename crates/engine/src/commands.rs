//! Commands in sandboxes.

use bhatti_guest::exec::{Command, Exec};
use tracing::Instrument as _;

use crate::engine::{Engine, shortened};
use crate::error::Error;
use crate::request::{Caller, NewExec};
use crate::sandbox::leases::Lease;
use crate::view::DetachedView;

impl Engine {
    /// Runs a command, waking the sandbox if need be. Dropping the [`Exec`] kills the command;
    /// the sandbox stays hot until the [`Lease`] is dropped.
    pub async fn exec(
        &self,
        caller: &Caller,
        key: &str,
        exec: NewExec,
    ) -> Result<(Exec, Lease), Error> {
        let program = exec.argv.first().map_or("", String::as_str);
        let lease = self
            .awake(caller, key, &format!("exec {}", shortened(program)))
            .await?;
        let start = tracing::debug_span!("start-command");
        let exec = lease.link.exec(&command(exec)).instrument(start).await?;
        Ok((exec, lease))
    }

    /// A lease of a sandbox, which is woken if need be.
    async fn awake(&self, caller: &Caller, key: &str, what: &str) -> Result<Lease, Error> {
        let handle = self.find(caller, key)?;
        let wake = tracing::debug_span!("wake");
        handle.lease(what, self.wake_limit).instrument(wake).await
    }

    /// Starts a command and leaves it running. It does not keep the sandbox hot.
    pub async fn exec_detached(
        &self,
        caller: &Caller,
        key: &str,
        exec: NewExec,
        output_file: Option<String>,
    ) -> Result<DetachedView, Error> {
        let lease = self.awake(caller, key, "exec --detach").await?;
        let detached = lease
            .link
            .exec_detached(&command(exec), output_file.as_deref())
            .await?;
        Ok(DetachedView {
            pid: detached.pid,
            output_file: detached.output_file,
        })
    }
}

pub(crate) fn command(exec: NewExec) -> Command {
    Command {
        argv: exec.argv,
        env: exec.env,
        cwd: exec.workdir,
        user: exec.user,
        timeout: exec.timeout,
        stdin: exec.stdin,
    }
}
