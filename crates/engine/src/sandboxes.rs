//! Requests about sandboxes that are there.

use std::time::Duration;

use bhatti_host::extents::Usage;
use bhatti_types::labels::Labels;

use crate::admission::Admission;
use crate::context::Context;
use crate::engine::Engine;
use crate::error::Error;
use crate::request::{Caller, EditSandbox};
use crate::sandbox::handle::Handle;
use crate::view::{AwakeView, IdleView, SandboxLineView, SandboxView, SleepAllView};

impl Engine {
    /// The caller's sandboxes that carry `labels`, by name.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn sandbox_list(
        &self,
        caller: &Caller,
        labels: &Labels,
    ) -> Result<Vec<SandboxView>, Error> {
        let pick = |view: &SandboxView| view.labels.matches(labels).then(|| view.clone());
        let mut views = self.directory.pick_of_user(&caller.user, pick);
        views.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(views)
    }

    /// The same, but only what a list in four columns shows.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn sandbox_lines(
        &self,
        caller: &Caller,
        labels: &Labels,
    ) -> Result<Vec<SandboxLineView>, Error> {
        let pick = |view: &SandboxView| {
            view.labels.matches(labels).then(|| SandboxLineView {
                name: view.name.clone(),
                status: view.status,
                thermal: view.thermal,
            })
        };
        let mut lines = self.directory.pick_of_user(&caller.user, pick);
        lines.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(lines)
    }

    /// One sandbox, by name or id.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn sandbox_get(&self, caller: &Caller, key: &str) -> Result<SandboxView, Error> {
        Ok(self.find(caller, key)?.now().view)
    }

    /// What a sandbox's files take on disk now: its disk, and its memory if it sleeps or was made
    /// from a checkpoint. `None` if it can't be told.
    pub async fn sandbox_usage(&self, caller: &Caller, key: &str) -> Result<Option<Usage>, Error> {
        let id = self.find(caller, key)?.id.clone();
        let usages = Context::usages(vec![self.ctx.layout.sandbox(&id)]).await?;
        Ok(usages.into_iter().next().flatten())
    }

    /// The same of several sandboxes that [`Engine::sandbox_list`] gave, in their order.
    pub async fn sandbox_usages(&self, views: &[SandboxView]) -> Result<Vec<Option<Usage>>, Error> {
        let dirs = views.iter().map(|view| self.ctx.layout.sandbox(&view.id));
        Context::usages(dirs.collect()).await
    }

    /// Why a sandbox is awake, and when it will not be.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn sandbox_idle(&self, caller: &Caller, key: &str) -> Result<IdleView, Error> {
        Ok(self.find(caller, key)?.idle())
    }

    /// Changes what its owner may change of a sandbox.
    pub async fn sandbox_edit(
        &self,
        caller: &Caller,
        key: &str,
        edit: EditSandbox,
    ) -> Result<SandboxView, Error> {
        let handle = self.find(caller, key)?;
        self.owned(async move { handle.edit(edit).await }).await
    }

    /// Pauses a sandbox's vCPUs; the next request lets them go on.
    pub async fn sandbox_pause(&self, caller: &Caller, key: &str) -> Result<SandboxView, Error> {
        let handle = self.find(caller, key)?;
        self.owned(async move { handle.pause().await }).await
    }

    /// Puts all machines of all users to disk, side by side, within a time limit. With
    /// `going_down` none is started after it, until there is another daemon.
    pub async fn sleep_all(
        &self,
        limit: Duration,
        going_down: bool,
    ) -> Result<SleepAllView, Error> {
        if going_down {
            self.ctx.go_down();
        }
        let engine = self.clone();
        self.owned(async move { Ok(sleep_all(&engine.directory.all(), limit).await) })
            .await
    }

    /// Takes a sandbox away.
    pub async fn sandbox_destroy(&self, caller: &Caller, key: &str) -> Result<(), Error> {
        let handle = self.find(caller, key)?;
        self.owned(async move { handle.destroy().await }).await
    }

    /// Puts a sandbox to disk, memory and all.
    pub async fn sandbox_stop(&self, caller: &Caller, key: &str) -> Result<SandboxView, Error> {
        let handle = self.find(caller, key)?;

        self.owned(async move { handle.stop().await }).await
    }

    /// Wakes a sandbox; `force` gives up its memory and boots from the disk; `wait` is how long
    /// to wait for room in the host's memory.
    pub async fn sandbox_start(
        &self,
        caller: &Caller,
        key: &str,
        force: bool,
        wait: Option<Duration>,
    ) -> Result<SandboxView, Error> {
        let handle = self.find(caller, key)?;
        self.owned(async move { Admission::waiting(wait, || handle.start(force)).await })
            .await
    }
}

/// Puts all of them to disk, and tells of those that are not there in time.
async fn sleep_all(handles: &[Handle], limit: Duration) -> SleepAllView {
    let awake = |handle: &Handle, reason: String| AwakeView {
        user: handle.user.clone(),
        name: handle.now().view.name,
        reason,
    };
    let until = tokio::time::Instant::now() + limit;
    let sleeping = handles
        .iter()
        .filter(|handle| handle.now().state().has_machine())
        .map(async |handle| {
            let stopped = tokio::time::timeout_at(until, handle.stop()).await;
            (handle, stopped)
        });
    let mut all = SleepAllView::default();
    for (handle, stopped) in futures::future::join_all(sleeping).await {
        match stopped {
            Ok(Ok(_)) => all.asleep += 1,
            Ok(Err(Error::NotFound { .. })) => {}
            Ok(Err(error)) => all.awake.push(awake(handle, error.to_string())),
            Err(_) => {
                let reason = format!("did not finish in {} s", limit.as_secs());
                all.awake.push(awake(handle, reason));
            }
        }
    }
    all
}
