//! The program that a sandbox keeps running, and what it writes.
//!
//! `GET /sandboxes/{id}/logs` answers with the program's output as it is, standard output and
//! standard error in one: `?tail=N` only the last lines, `?follow=true` also what comes. Output is
//! kept in the guest, where it is bounded.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a new sandbox is to keep running. What is left out is the image's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateRun {
    /// The program and its first arguments. The image's arguments are left out then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The arguments after these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// Whether it is started again when it has ended: `no`, `on-failure` (if missing) or `always`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
}

/// The program that a sandbox keeps running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Program and arguments.
    pub command: Vec<String>,
    /// Whether it is started again when it has ended: `no`, `on-failure` or `always`.
    pub restart: String,
    /// The signal that asks it to end, by its number on Linux.
    pub stop_signal: i32,
    /// How it is; in answers about this one sandbox, while that is hot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RunState>,
}

/// How the program is. All of it is the guest's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunState {
    /// `starting`, `running`, `waiting` to be started again, or `ended`.
    pub status: String,
    /// Its process id in the guest, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Since when, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// How often it was started again.
    pub restarts: u32,
    /// Exit code it last ended with, or 128 + the signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that last ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why it could not be started the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
