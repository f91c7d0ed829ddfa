//! Calls about volumes.

use bhatti_api::sandbox::{Sandbox, StatusBody};
use bhatti_api::volume::{
    AttachVolume, BackUpVolume, CloneVolume, CreateVolume, DetachVolume, ResizeVolume,
    RestoreVolume, Volume, VolumeBackup,
};

use crate::client::{Call, Client, segment};
use crate::error::Error;

impl Client {
    /// The caller's volumes.
    pub async fn volume_list(&self) -> Result<Vec<Volume>, Error> {
        self.fetch(Call::get("/volumes", "GET /volumes")).await
    }

    /// Makes an empty volume.
    pub async fn volume_create(&self, new: &CreateVolume) -> Result<Volume, Error> {
        self.fetch(Call::post("/volumes", "POST /volumes", new))
            .await
    }

    /// One volume.
    pub async fn volume_get(&self, name: &str) -> Result<Volume, Error> {
        let path = format!("/volumes/{}", segment(name));
        self.fetch(Call::get(path, "GET /volumes/{name}")).await
    }

    /// Deletes a volume that no sandbox has.
    pub async fn volume_delete(&self, name: &str) -> Result<StatusBody, Error> {
        let path = format!("/volumes/{}", segment(name));
        self.fetch(Call::delete(path, "DELETE /volumes/{name}"))
            .await
    }

    /// Makes a volume larger.
    pub async fn volume_resize(&self, name: &str, size_mb: u64) -> Result<Volume, Error> {
        let path = format!("/volumes/{}/resize", segment(name));
        let body = ResizeVolume { size_mb };
        self.fetch(Call::post(path, "POST /volumes/{name}/resize", &body))
            .await
    }

    /// Makes a volume that holds what another holds now.
    pub async fn volume_clone(&self, source: &str, name: &str) -> Result<Volume, Error> {
        let path = format!("/volumes/{}/snapshot", segment(source));
        let body = CloneVolume {
            name: name.to_owned(),
        };
        self.fetch(Call::post(path, "POST /volumes/{name}/snapshot", &body))
            .await
    }

    /// Gives a sandbox a volume, at once if it runs.
    pub async fn volume_attach(&self, name: &str, attach: &AttachVolume) -> Result<Sandbox, Error> {
        let path = format!("/volumes/{}/attach", segment(name));
        self.fetch(Call::post(path, "POST /volumes/{name}/attach", attach))
            .await
    }

    /// Backs a volume up.
    pub async fn volume_backup(&self, name: &str, to: Option<&str>) -> Result<VolumeBackup, Error> {
        let path = format!("/volumes/{}/backups", segment(name));
        let body = BackUpVolume {
            to: to.map(str::to_owned),
        };
        self.fetch(Call::post(path, "POST /volumes/{name}/backups", &body))
            .await
    }

    /// The backups of a volume, oldest first.
    pub async fn volume_backups(
        &self,
        name: &str,
        to: Option<&str>,
    ) -> Result<Vec<VolumeBackup>, Error> {
        let path = format!("/volumes/{}/backups{}", segment(name), at(to));
        self.fetch(Call::get(path, "GET /volumes/{name}/backups"))
            .await
    }

    /// Puts a volume back to what it was.
    pub async fn volume_restore(
        &self,
        name: &str,
        backup: &str,
        to: Option<&str>,
    ) -> Result<Volume, Error> {
        let path = format!("/volumes/{}/backups/restore", segment(name));
        let body = RestoreVolume {
            backup_id: backup.to_owned(),
            to: to.map(str::to_owned),
        };
        self.fetch(Call::post(
            path,
            "POST /volumes/{name}/backups/restore",
            &body,
        ))
        .await
    }

    /// Deletes a backup.
    pub async fn volume_backup_delete(
        &self,
        name: &str,
        backup: &str,
        to: Option<&str>,
    ) -> Result<StatusBody, Error> {
        let (name, backup) = (segment(name), segment(backup));
        let path = format!("/volumes/{name}/backups/{backup}{}", at(to));
        self.fetch(Call::delete(path, "DELETE /volumes/{name}/backups/{id}"))
            .await
    }

    /// Takes a volume from a sandbox.
    pub async fn volume_detach(&self, name: &str, sandbox: &str) -> Result<Sandbox, Error> {
        let path = format!("/volumes/{}/detach", segment(name));
        let body = DetachVolume {
            sandbox: sandbox.to_owned(),
        };
        self.fetch(Call::post(path, "POST /volumes/{name}/detach", &body))
            .await
    }
}

/// Where a backup is, as a query.
fn at(to: Option<&str>) -> String {
    to.map_or_else(String::new, |to| format!("?to={}", segment(to)))
}
