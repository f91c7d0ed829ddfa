//! Calls about sandboxes, but for running commands interactively, which is [`crate::exec`].

use std::time::Duration;

use bhatti_api::exec::{DEFAULT_TIMEOUT_SEC, ExecDetached, ExecRequest, ExecResult};
use bhatti_api::idle::EditSandbox;
use bhatti_api::sandbox::{
    CreateSandbox, ForkSandbox, RollbackSandbox, RolledBack, Sandbox, StartSandbox, StatusBody,
};
use bhatti_api::tree::TreeNode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;

use crate::client::{CHANGE_TIMEOUT, Call, Client, segment};
use crate::error::Error;
use crate::lines::SandboxLines;

/// What became of a create.
#[derive(Debug, Clone, PartialEq)]
pub struct CreatedSandbox {
    /// The sandbox.
    pub sandbox: Sandbox,
    /// Whether it was there already under that name.
    pub existing: bool,
}

impl Client {
    /// Makes a sandbox, or gives the one that has the name already.
    pub async fn sandbox_create(&self, new: &CreateSandbox) -> Result<CreatedSandbox, Error> {
        const WHAT: &str = "POST /sandboxes";
        let reply = self.call(Call::post("/sandboxes", WHAT, new)).await?;
        Ok(CreatedSandbox {
            sandbox: reply.json(self.endpoint(), WHAT)?,
            existing: reply.header("x-bhatti-existing") == Some("true"),
        })
    }

    /// The caller's sandboxes that carry all of `labels`, each `key=value`.
    pub async fn sandbox_list(&self, labels: &[String]) -> Result<Vec<Sandbox>, Error> {
        self.listed(labels, None).await
    }

    /// The same with what each takes on disk, which takes the daemon a while longer.
    pub async fn sandbox_list_with_usage(&self, labels: &[String]) -> Result<Vec<Sandbox>, Error> {
        self.listed(labels, Some("usage=true")).await
    }

    /// The same, but only what a list in four columns shows.
    pub async fn sandbox_lines(&self, labels: &[String]) -> Result<SandboxLines, Error> {
        const WHAT: &str = "GET /sandboxes";
        let path = list_path(labels, Some("fields=line"));
        let reply = self.call(Call::get(path, WHAT)).await?;
        Ok(SandboxLines::new(reply, self.endpoint().clone(), WHAT))
    }

    async fn listed<T: DeserializeOwned>(
        &self,
        labels: &[String],
        asked: Option<&str>,
    ) -> Result<Vec<T>, Error> {
        self.fetch(Call::get(list_path(labels, asked), "GET /sandboxes"))
            .await
    }

    /// One sandbox, by name or id.
    pub async fn sandbox_get(&self, sandbox: &str) -> Result<Sandbox, Error> {
        let path = format!("/sandboxes/{}", segment(sandbox));
        self.fetch(Call::get(path, "GET /sandboxes/{id}")).await
    }

    /// One sandbox, by name or id, with what it takes on disk.
    pub async fn sandbox_get_with_usage(&self, sandbox: &str) -> Result<Sandbox, Error> {
        let path = format!("/sandboxes/{}?usage=true", segment(sandbox));
        self.fetch(Call::get(path, "GET /sandboxes/{id}")).await
    }

    /// Takes a sandbox away.
    pub async fn sandbox_destroy(&self, sandbox: &str) -> Result<StatusBody, Error> {
        let path = format!("/sandboxes/{}", segment(sandbox));
        self.fetch(Call::delete(path, "DELETE /sandboxes/{id}"))
            .await
    }

    /// Changes what is set for a sandbox.
    pub async fn sandbox_edit(&self, sandbox: &str, edit: &EditSandbox) -> Result<Sandbox, Error> {
        let path = format!("/sandboxes/{}", segment(sandbox));
        self.fetch(Call::patch(path, "PATCH /sandboxes/{id}", edit))
            .await
    }

    /// Pauses a sandbox's vCPUs.
    pub async fn sandbox_pause(&self, sandbox: &str) -> Result<Sandbox, Error> {
        let path = format!("/sandboxes/{}/pause", segment(sandbox));
        self.fetch(Call {
            body: None,
            ..Call::post(path, "POST /sandboxes/{id}/pause", &())
        })
        .await
    }

    /// Puts a sandbox to disk, memory and all.
    pub async fn sandbox_stop(&self, sandbox: &str) -> Result<Sandbox, Error> {
        let path = format!("/sandboxes/{}/stop", segment(sandbox));
        self.fetch(Call {
            body: None,
            ..Call::post(path, "POST /sandboxes/{id}/stop", &())
        })
        .await
    }

    /// Wakes a sandbox.
    pub async fn sandbox_start(
        &self,
        sandbox: &str,
        start: &StartSandbox,
    ) -> Result<Sandbox, Error> {
        let path = format!("/sandboxes/{}/start", segment(sandbox));
        self.fetch(Call::post(path, "POST /sandboxes/{id}/start", start))
            .await
    }

    /// Makes copies of a sandbox that go on from this instant of it.
    pub async fn sandbox_fork(
        &self,
        sandbox: &str,
        fork: &ForkSandbox,
    ) -> Result<Vec<Sandbox>, Error> {
        let path = format!("/sandboxes/{}/fork", segment(sandbox));
        self.fetch(Call::post(path, "POST /sandboxes/{id}/fork", fork))
            .await
    }

    /// Puts a sandbox back to one of its checkpoints.
    pub async fn sandbox_rollback(
        &self,
        sandbox: &str,
        rollback: &RollbackSandbox,
    ) -> Result<RolledBack, Error> {
        let path = format!("/sandboxes/{}/rollback", segment(sandbox));
        self.fetch(Call::post(path, "POST /sandboxes/{id}/rollback", rollback))
            .await
    }

    /// The caller's sandboxes and checkpoints, each before what descends from it; with a sandbox,
    /// only that one and its descendants.
    pub async fn tree(&self, sandbox: Option<&str>) -> Result<Vec<TreeNode>, Error> {
        let path = match sandbox {
            Some(sandbox) => format!("/tree?sandbox={}", segment(sandbox)),
            None => "/tree".to_owned(),
        };
        self.fetch(Call::get(path, "GET /tree")).await
    }

    /// Runs a command without standard input and gives all of its output at its end. Dropping the
    /// future ends the command.
    pub async fn exec(&self, sandbox: &str, request: &ExecRequest) -> Result<ExecResult, Error> {
        self.fetch(exec_call(sandbox, request)).await
    }

    /// Starts a command and leaves it running; `request.detach` is meant to be set.
    pub async fn exec_detached(
        &self,
        sandbox: &str,
        request: &ExecRequest,
    ) -> Result<ExecDetached, Error> {
        self.fetch(exec_call(sandbox, request)).await
    }
}

fn list_path(labels: &[String], asked: Option<&str>) -> String {
    let mut path = "/sandboxes".to_owned();
    let mut mark = '?';
    for label in labels {
        path.push(mark);
        path.push_str("label=");
        path.extend(utf8_percent_encode(label, NON_ALPHANUMERIC));
        mark = '&';
    }
    if let Some(asked) = asked {
        path.push(mark);
        path.push_str(asked);
    }
    path
}

/// The daemon ends the command when its time is up, so the call gets longer than that.
fn exec_call(sandbox: &str, request: &ExecRequest) -> Call {
    let command = match request.timeout_sec {
        None | Some(0) => DEFAULT_TIMEOUT_SEC,
        Some(seconds) => seconds,
    };
    let path = format!("/sandboxes/{}/exec", segment(sandbox));
    Call {
        limit: CHANGE_TIMEOUT.saturating_add(Duration::from_secs(command)),
        ..Call::post(path, "POST /sandboxes/{id}/exec", request)
    }
}
