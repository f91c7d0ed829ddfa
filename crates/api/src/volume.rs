//! Bodies of `/volumes`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /volumes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVolume {
    /// Its name.
    pub name: String,
    /// Its size in MiB.
    pub size_mb: u64,
}

/// `POST /volumes/{name}/resize`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeVolume {
    /// Its new size in MiB, which is not less than the one it has.
    pub size_mb: u64,
}

/// `POST /volumes/{name}/snapshot`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneVolume {
    /// Name of the new volume.
    pub name: String,
}

/// `POST /volumes/{name}/attach`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachVolume {
    /// The sandbox, by name or id.
    pub sandbox: String,
    /// Where it is mounted: an absolute path.
    pub mount: String,
    /// Whether nothing can be written to it. Then others may read it too.
    #[serde(default)]
    pub read_only: bool,
}

/// `POST /volumes/{name}/detach`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DetachVolume {
    /// The sandbox, by name or id.
    pub sandbox: String,
}

/// A volume that a new sandbox is to have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PersistentVolume {
    /// The volume's name.
    pub name: String,
    /// Where it is mounted: an absolute path.
    pub mount: String,
    /// Its size in MiB, if it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_mb: Option<u64>,
    /// Make it if there is none of that name.
    #[serde(default)]
    pub auto_create: bool,
    /// Whether nothing can be written to it. Then others may read it too.
    #[serde(default)]
    pub read_only: bool,
}

/// A volume of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttachedVolume {
    /// The volume's name.
    pub name: String,
    /// Where it is mounted.
    pub mount: String,
    /// Whether nothing can be written to it.
    #[serde(default)]
    pub read_only: bool,
}

/// One volume as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Volume {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its size in MiB.
    pub size_mb: u64,
    /// `attached` or `detached`.
    pub status: String,
    /// Who has it.
    #[serde(default)]
    pub attachments: Vec<VolumeAttachment>,
    /// What it takes on disk that nothing else holds, in bytes; missing if it can't be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_own_bytes: Option<u64>,
    /// What it takes on disk that others hold too, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_shared_bytes: Option<u64>,
    /// Id of the user it belongs to.
    pub created_by: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// `POST /volumes/{name}/backups`. Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackUpVolume {
    /// Where to: `s3` or `directory`; if missing, the first of these that the daemon has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// `POST /volumes/{name}/backups/restore`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreVolume {
    /// The backup.
    pub backup_id: String,
    /// Where it is: `s3` or `directory`; if missing, the first of these that the daemon has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A backup of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeBackup {
    /// Its id.
    pub id: String,
    /// Name of the volume.
    pub volume: String,
    /// Where it is: `s3` or `directory`.
    pub target: String,
    /// Size of the volume, in bytes.
    pub size_bytes: u64,
    /// What it holds, in bytes.
    pub data_bytes: u64,
    /// What was sent for it, in bytes: what earlier backups did not have, compressed.
    pub sent_bytes: u64,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

/// A sandbox that has a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VolumeAttachment {
    /// The sandbox's id.
    pub sandbox_id: String,
    /// The sandbox's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// Where it is mounted.
    pub mount: String,
    /// Whether it can only be read there.
    #[serde(default)]
    pub read_only: bool,
    /// Whether the volume goes away with the sandbox, for it was made as a copy along with it.
    #[serde(default)]
    pub owned: bool,
}
