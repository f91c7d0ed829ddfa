//! The programs that sandboxes keep running.

use std::time::Duration;

use bhatti_guest::service::{Logs, LogsWanted, ServiceStatus};

use crate::engine::Engine;
use crate::error::Error;
use crate::request::Caller;
use crate::sandbox::leases::Lease;

/// Time for the agent of a hot sandbox to say how its program is. Whoever looks at a sandbox is
/// not made to wait for a guest that is silent.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

impl Engine {
    /// How the program is doing that a sandbox keeps running. `None` if there is none, or if it
    /// can't be told now: nobody is woken for it, and it counts as no use of the sandbox.
    pub async fn service_status(
        &self,
        caller: &Caller,
        key: &str,
    ) -> Result<Option<ServiceStatus>, Error> {
        let handle = self.find(caller, key)?;
        if handle.look(|view| view.run.is_none()) {
            return Ok(None);
        }
        let Some(link) = handle.link() else {
            return Ok(None);
        };
        match link.service_status(STATUS_LIMIT).await {
            Ok(status) => Ok(Some(status)),
            Err(error) => {
                tracing::debug!(
                    sandbox = %handle.id,
                    error = &error as &dyn std::error::Error,
                    "a guest does not say how its program is"
                );
                Ok(None)
            }
        }
    }

    /// What that program wrote, as the guest keeps it. Wakes the sandbox if need be, and keeps it
    /// hot until the [`Lease`] is dropped.
    pub async fn logs(
        &self,
        caller: &Caller,
        key: &str,
        wanted: LogsWanted,
    ) -> Result<(Logs, Lease), Error> {
        let handle = self.find(caller, key)?;
        if handle.look(|view| view.run.is_none()) {
            let name = handle.look(|view| view.name.clone());
            return Err(Error::Conflict {
                message: format!("sandbox {:?} keeps no program running", name.as_str()),
                hint: Some("`bhatti create --run` makes one that does".to_owned()),
            });
        }
        let lease = handle.lease("logs", self.wake_limit).await?;
        let logs = lease.link.logs(wanted).await?;
        Ok((logs, lease))
    }
}
