//! The facade: one method for each request of a user.

use std::sync::Arc;

use bhatti_guest::exec::Exec;
use bhatti_types::labels::Labels;
use bhatti_types::name::{ImageName, SandboxName, SnapshotName, UserName};
use bhatti_types::secret::Token;

use crate::config::EngineConfig;
use crate::error::Error;
use crate::request::{Caller, NewExec, NewSandbox, NewUser};
use crate::view::{
    Created, DetachedView, HostView, ImageView, SandboxView, SnapshotView, UserView,
};

/// The running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    _inner: Arc<()>,
}

impl Engine {
    /// Opens the data directory, repairs what an earlier daemon left half done, and adopts the
    /// machines that are still running.
    pub async fn open(_config: EngineConfig) -> Result<Self, Error> {
        unimplemented!()
    }

    /// Lets running work finish and lets go of the machines, which stay as they are.
    pub async fn close(&self) {
        unimplemented!()
    }

    /// The built-in user of the unix socket.
    pub fn local_admin(&self) -> Caller {
        unimplemented!()
    }

    /// The user a token belongs to; `None` if it is nobody's.
    pub async fn authenticate(&self, _token: &Token) -> Result<Option<Caller>, Error> {
        unimplemented!()
    }

    /// What the daemon says of itself.
    pub async fn host(&self) -> Result<HostView, Error> {
        unimplemented!()
    }

    /// Makes a sandbox, or gives the one that has the name already.
    pub async fn sandbox_create(
        &self,
        _caller: &Caller,
        _new: NewSandbox,
    ) -> Result<Created, Error> {
        unimplemented!()
    }

    /// The caller's sandboxes that carry `labels`, by name.
    pub async fn sandbox_list(
        &self,
        _caller: &Caller,
        _labels: &Labels,
    ) -> Result<Vec<SandboxView>, Error> {
        unimplemented!()
    }

    /// One sandbox, by name or id.
    pub async fn sandbox_get(&self, _caller: &Caller, _key: &str) -> Result<SandboxView, Error> {
        unimplemented!()
    }

    /// Takes a sandbox away.
    pub async fn sandbox_destroy(&self, _caller: &Caller, _key: &str) -> Result<(), Error> {
        unimplemented!()
    }

    /// Puts a sandbox to disk, memory and all.
    pub async fn sandbox_stop(&self, _caller: &Caller, _key: &str) -> Result<SandboxView, Error> {
        unimplemented!()
    }

    /// Wakes a sandbox; `force` gives up its memory and boots from the disk.
    pub async fn sandbox_start(
        &self,
        _caller: &Caller,
        _key: &str,
        _force: bool,
    ) -> Result<SandboxView, Error> {
        unimplemented!()
    }

    /// Runs a command, waking the sandbox if need be. Dropping the [`Exec`] kills the command.
    pub async fn exec(&self, _caller: &Caller, _key: &str, _exec: NewExec) -> Result<Exec, Error> {
        unimplemented!()
    }

    /// Starts a command and leaves it running.
    pub async fn exec_detached(
        &self,
        _caller: &Caller,
        _key: &str,
        _exec: NewExec,
        _output_file: Option<String>,
    ) -> Result<DetachedView, Error> {
        unimplemented!()
    }

    /// Takes a checkpoint of a running sandbox, which goes on.
    pub async fn snapshot_create(
        &self,
        _caller: &Caller,
        _key: &str,
        _name: SnapshotName,
    ) -> Result<SnapshotView, Error> {
        unimplemented!()
    }

    /// The caller's checkpoints, oldest first.
    pub async fn snapshot_list(&self, _caller: &Caller) -> Result<Vec<SnapshotView>, Error> {
        unimplemented!()
    }

    /// One checkpoint.
    pub async fn snapshot_get(
        &self,
        _caller: &Caller,
        _name: &SnapshotName,
    ) -> Result<SnapshotView, Error> {
        unimplemented!()
    }

    /// Deletes a checkpoint; sandboxes resumed from it go on.
    pub async fn snapshot_delete(
        &self,
        _caller: &Caller,
        _name: &SnapshotName,
    ) -> Result<(), Error> {
        unimplemented!()
    }

    /// Makes a new sandbox that goes on from a checkpoint.
    pub async fn snapshot_resume(
        &self,
        _caller: &Caller,
        _name: &SnapshotName,
        _sandbox: Option<SandboxName>,
    ) -> Result<SandboxView, Error> {
        unimplemented!()
    }

    /// Images the caller may use.
    pub async fn image_list(&self, _caller: &Caller) -> Result<Vec<ImageView>, Error> {
        unimplemented!()
    }

    /// One image.
    pub async fn image_get(&self, _caller: &Caller, _name: &ImageName) -> Result<ImageView, Error> {
        unimplemented!()
    }

    /// Makes a user and its token.
    pub async fn user_create(&self, _new: NewUser) -> Result<(UserView, Token), Error> {
        unimplemented!()
    }

    /// All users but the built-in one.
    pub async fn user_list(&self) -> Result<Vec<UserView>, Error> {
        unimplemented!()
    }

    /// One user.
    pub async fn user_get(&self, _name: &UserName) -> Result<UserView, Error> {
        unimplemented!()
    }

    /// Deletes a user that has nothing left.
    pub async fn user_delete(&self, _name: &UserName) -> Result<(), Error> {
        unimplemented!()
    }

    /// Gives a user a new token; the old one is void at once.
    pub async fn user_rotate_key(&self, _name: &UserName) -> Result<Token, Error> {
        unimplemented!()
    }
}
