//! Why a sandbox is awake, when it will not be, and what is set about that.
//!
//! Idle times are text: `never`, or a number with `ms`, `s`, `m`, `h` or `d`, such as `30s`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a sandbox is awake, and when it will not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Idle {
    /// Who uses it, oldest first. While there is one it stays hot.
    pub leases: Vec<Lease>,
    /// When it was last used, or became hot; RFC 3339.
    pub last_used_at: String,
    /// What idleness does next: `pause`, `sleep` or `nothing`.
    pub next: String,
    /// When it does that, if nothing uses the sandbox until then; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<String>,
    /// Why it does nothing: `in use`, `kept hot`, `never` or `not awake`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Time without use until it is paused.
    pub idle_pause: String,
    /// Time from the pause until it goes to disk.
    pub idle_cold: String,
    /// Share of a core, in per cent, above which it counts as used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_cpu: Option<u8>,
    /// Whether it is woken for timers of its guest.
    pub wake_timers: bool,
    /// When its guest wants to be woken, if it sleeps; RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<String>,
}

/// One who uses a sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// What for, such as `exec make`.
    pub what: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// `PATCH /sandboxes/{id}`. What is left out stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EditSandbox {
    /// A new name. The hostname inside follows, when the machine is hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it is kept hot; `true` wakes it at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_hot: Option<bool>,
    /// Labels to set.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels_add: std::collections::BTreeMap<String, String>,
    /// Keys of labels to take off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels_remove: Vec<String>,
    /// Time without use until it is paused; `default` for the user's or host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_pause: Option<String>,
    /// Time from the pause until it goes to disk; `default` for the user's or host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_cold: Option<String>,
    /// Share of a core, in per cent, above which it counts as used; 0 for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_cpu: Option<u8>,
    /// Whether it is woken for timers of its guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_timers: Option<bool>,
    /// What it may reach: `open`, `public` or `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<String>,
    /// Address ranges that it may reach besides, in place of those that were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_cidrs: Option<Vec<String>>,
}

/// `PATCH /users/{name}`: what its sandboxes do when idle and nothing is set for them, and its
/// limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EditUser {
    /// Whether they are kept hot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_hot: Option<bool>,
    /// Time without use until they are paused; `default` for the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_pause: Option<String>,
    /// Time from the pause until they go to disk; `default` for the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_cold: Option<String>,
    /// Share of a core, in per cent, above which they count as used; 0 for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_cpu: Option<u8>,
    /// Whether they are woken for timers of their guests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wake_timers: Option<bool>,
    /// Most images of its own at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_images: Option<u32>,
}

/// `POST /sleep`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SleepAll {
    /// How long it may take, in seconds; 60 if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_sec: Option<u64>,
    /// The host is going down: nothing is woken any more until there is another daemon.
    pub going_down: bool,
}

/// How putting all machines to sleep went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SleptAll {
    /// How many went to sleep.
    pub asleep: u64,
    /// Those that did not.
    pub awake: Vec<Awake>,
}

/// A machine that was not put to sleep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Awake {
    /// Id of its owner.
    pub user_id: String,
    /// Its name.
    pub name: String,
    /// Why it is awake.
    pub reason: String,
}
