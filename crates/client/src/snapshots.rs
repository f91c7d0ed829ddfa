//! Calls about checkpoints.

use bhatti_api::sandbox::{Sandbox, StatusBody};
use bhatti_api::snapshot::{CreateSnapshot, ResumeSnapshot, Snapshot};

use crate::client::{Call, Client, segment};
use crate::error::Error;

impl Client {
    /// Takes a checkpoint of a sandbox, which goes on.
    pub async fn snapshot_create(
        &self,
        sandbox: &str,
        new: &CreateSnapshot,
    ) -> Result<Snapshot, Error> {
        let path = format!("/sandboxes/{}/checkpoint", segment(sandbox));
        self.fetch(Call::post(path, "POST /sandboxes/{id}/checkpoint", new))
            .await
    }

    /// The caller's checkpoints.
    pub async fn snapshot_list(&self) -> Result<Vec<Snapshot>, Error> {
        self.fetch(Call::get("/snapshots", "GET /snapshots")).await
    }

    /// One checkpoint.
    pub async fn snapshot_get(&self, name: &str) -> Result<Snapshot, Error> {
        let path = format!("/snapshots/{}", segment(name));
        self.fetch(Call::get(path, "GET /snapshots/{name}")).await
    }

    /// Deletes a checkpoint; what was resumed from it goes on.
    pub async fn snapshot_delete(&self, name: &str) -> Result<StatusBody, Error> {
        let path = format!("/snapshots/{}", segment(name));
        self.fetch(Call::delete(path, "DELETE /snapshots/{name}"))
            .await
    }

    /// Makes a new sandbox that goes on from a checkpoint.
    pub async fn snapshot_resume(
        &self,
        name: &str,
        resume: &ResumeSnapshot,
    ) -> Result<Sandbox, Error> {
        let path = format!("/snapshots/{}/resume", segment(name));
        self.fetch(Call::post(path, "POST /snapshots/{name}/resume", resume))
            .await
    }
}
