//! One sandbox: its task, and the steps that task takes.

pub(crate) mod actor;
pub(crate) mod directory;
mod files;
mod fork;
pub(crate) mod handle;
mod idling;
pub(crate) mod leases;
mod rollback;
mod saved;
mod steps;
pub(crate) mod swap;
mod template_steps;
mod volumes;
pub(crate) mod work;

pub(crate) use files::remove_snapshot;
