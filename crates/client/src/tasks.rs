//! Calls about tasks.

use bhatti_api::task::Task;

use crate::client::{Call, Client, segment};
use crate::error::Error;

impl Client {
    /// The caller's tasks.
    pub async fn task_list(&self) -> Result<Vec<Task>, Error> {
        self.fetch(Call::get("/tasks", "GET /tasks")).await
    }

    /// One task.
    pub async fn task_get(&self, id: &str) -> Result<Task, Error> {
        let path = format!("/tasks/{}", segment(id));
        self.fetch(Call::get(path, "GET /tasks/{id}")).await
    }

    /// Has a task given up.
    pub async fn task_cancel(&self, id: &str) -> Result<Task, Error> {
        let path = format!("/tasks/{}", segment(id));
        self.fetch(Call::delete(path, "DELETE /tasks/{id}")).await
    }
}
