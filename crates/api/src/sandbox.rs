//! Bodies of `/sandboxes`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::idle::Idle;
use crate::run::{CreateRun, Run};
use crate::volume::{AttachedVolume, PersistentVolume};

/// `POST /sandboxes`. Everything may be left out. Unknown fields are refused with 400, so that a
/// feature this daemon lacks is not silently dropped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateSandbox {
    /// A name; one is made up if it is empty or missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The sandbox it is a copy of, by name or id: the copy goes on from this instant of it, and
    /// has all of its settings, so that nothing but a name and `wait_sec` may be given besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Image, `base` if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// vCPUs. A number and not an integer because the original takes `1.0`; fractions are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Memory in MiB; 0 and missing mean the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u64>,
    /// Disk in MiB; 0 and missing mean the image's own size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_size_mb: Option<u64>,
    /// Environment of every command in the sandbox.
    pub env: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// User that commands run as, in place of the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether it is kept hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_hot: Option<bool>,
    /// Time without use until it is paused, such as `30s` or `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_pause: Option<String>,
    /// Time from the pause until it goes to disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_cold: Option<String>,
    /// Share of a core, in per cent, above which it counts as used; 0 for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_cpu: Option<u8>,
    /// Whether it is woken for timers of its guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_timers: Option<bool>,
    /// What it may reach: `open`, `public` or `deny`; `public` if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<String>,
    /// Address ranges that it may reach besides, such as `192.0.2.0/24`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_cidrs: Option<Vec<String>>,
    /// What process 1 is: `lohar`, bhatti's own agent; `systemd`, the image's; or `auto`, also if
    /// missing: what the image asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// A program to keep running: that of the image, unless others are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<CreateRun>,
    /// How long to wait for room in the host's memory, in seconds, before giving up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_sec: Option<u64>,
    /// Its volumes, at most 24.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub persistent_volumes: Vec<PersistentVolume>,
}

/// One sandbox as shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// `creating`, `running`, `stopped`, `failed` or `destroying`.
    pub status: String,
    /// `hot`, `warm`, `cold` or `off`.
    pub thermal: String,
    /// Why it is `failed`, or why its machine last ended unasked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The engine it runs on: `qemu`.
    pub engine: String,
    /// The accelerator under it: `kvm` or `tcg`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accelerator: Option<String>,
    /// Its address in its user's network; empty if it has none.
    #[serde(default)]
    pub ip: String,
    /// What it may reach: `open`, `public` or `deny`.
    #[serde(default)]
    pub egress: String,
    /// Address ranges that it may reach besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_cidrs: Vec<String>,
    /// Public addresses of its ports.
    #[serde(default)]
    pub urls: Vec<String>,
    /// vCPUs.
    pub cpus: f64,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Disk in MiB.
    pub disk_size_mb: u64,
    /// What it takes on disk that nothing else holds, in bytes: what would be free again without
    /// it. Only there if it is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_own_bytes: Option<u64>,
    /// What it takes on disk that others hold too, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_shared_bytes: Option<u64>,
    /// Image it was made from.
    pub image: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// User that commands run as, from the image if none was asked for; root if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The checkpoint it was resumed from, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_from: Option<String>,
    /// Id of the sandbox it was forked from, which may be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<String>,
    /// Its volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<AttachedVolume>,
    /// What process 1 is, if not bhatti's own agent: `systemd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// The program that it keeps running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
    /// Whether it is kept hot.
    #[serde(default)]
    pub keep_hot: bool,
    /// Why it is awake, and when it will not be; in answers about this one sandbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle: Option<Idle>,
    /// Id of the user it belongs to.
    pub created_by: String,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// When it was last stopped, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_at: Option<String>,
}

/// The part of a [`Sandbox`] that a list in four columns shows: `GET /sandboxes?fields=line`. A long
/// list of these is a fifth as long, and as much quicker to write and to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxLine {
    /// Its name.
    pub name: String,
    /// As in [`Sandbox::status`].
    pub status: Cow<'static, str>,
    /// As in [`Sandbox::thermal`].
    pub thermal: Cow<'static, str>,
    /// Public addresses of its ports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
}

/// `POST /sandboxes/{id}/start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StartSandbox {
    /// Give up the sleeping memory and boot from the disk.
    pub force: bool,
    /// How long to wait for room in the host's memory, in seconds, before giving up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_sec: Option<u64>,
}

/// `POST /sandboxes/{id}/fork`. Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ForkSandbox {
    /// Name of the copy, or of several with `-1`, `-2` and so on after it; the source's with
    /// `-fork` if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many copies, from 1 to 100; 1 if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How long to wait for room in the host's memory, in seconds, before giving up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_sec: Option<u64>,
}

/// `POST /sandboxes/{id}/rollback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackSandbox {
    /// Name of the checkpoint, which was taken of this same sandbox.
    pub to: String,
    /// Also if what the sandbox is now can't be kept, for it has no memory.
    #[serde(default)]
    pub force: bool,
}

/// Answer of `POST /sandboxes/{id}/rollback`: the sandbox, and what it was before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolledBack {
    /// The sandbox.
    #[serde(flatten)]
    pub sandbox: Sandbox,
    /// Name of the automatic checkpoint of what it was before, unless there was nothing to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
}

/// Answer of `DELETE /sandboxes/{id}` and of other deletions: `{"status":"destroyed"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusBody {
    /// One word.
    pub status: String,
}
