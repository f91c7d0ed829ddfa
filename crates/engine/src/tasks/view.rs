//! What callers may do with their tasks.

use bhatti_types::id::TaskId;
use tracing::Instrument as _;

use super::progress::Reporter;
use super::registry::{TaskKind, TaskView};
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::request::Caller;
use crate::view::ImageView;

impl Engine {
    /// Begins work that goes on when the request is over.
    pub(crate) fn begin_task<F>(
        &self,
        caller: &Caller,
        kind: TaskKind,
        subject: String,
        work: impl FnOnce(Reporter) -> F,
    ) -> Result<TaskId, Error>
    where
        F: Future<Output = Result<Option<ImageView>, Error>> + Send + 'static,
    {
        let ctx = self.ctx.clone();
        if ctx.tasks.is_closed() {
            return Err(Error::Stopping);
        }
        let begun = ctx.long.begin(&caller.user, kind, subject, &ctx.closing)?;
        let id = begun.id.clone();
        let work = work(begun.reporter.clone());
        let running = async move { ctx.long.run(begun, &ctx.tasks, work).await };
        self.ctx.tasks.spawn(running.in_current_span());
        Ok(id)
    }

    /// The caller's tasks, the latest first.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn task_list(&self, caller: &Caller) -> Result<Vec<TaskView>, Error> {
        Ok(self.ctx.long.list(&caller.user))
    }

    /// One of the caller's tasks.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn task_get(&self, caller: &Caller, id: &TaskId) -> Result<TaskView, Error> {
        let found = self.ctx.long.get(&caller.user, id);
        found.ok_or_else(|| not_found(id))
    }

    /// Has one of the caller's tasks given up. What it had half made is gone once the task says
    /// that it is cancelled; one that has ended stays as it is.
    #[expect(clippy::unused_async, reason = "the facade's methods are all alike")]
    pub async fn task_cancel(&self, caller: &Caller, id: &TaskId) -> Result<TaskView, Error> {
        let found = self.ctx.long.cancel(&caller.user, id);
        found.ok_or_else(|| not_found(id))
    }
}

fn not_found(id: &TaskId) -> Error {
    Error::NotFound {
        kind: Kind::Task,
        name: id.to_string(),
    }
}
