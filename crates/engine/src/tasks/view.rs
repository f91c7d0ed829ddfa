//! What callers may do with their tasks.

use bhatti_types::id::TaskId;

use super::registry::TaskView;
use crate::engine::Engine;
use crate::error::{Error, Kind};
use crate::request::Caller;

impl Engine {
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
