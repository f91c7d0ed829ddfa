//! One sandbox: its task, and the steps that task takes.

pub(crate) mod actor;
pub(crate) mod directory;
mod files;
mod fork;
mod halted;
pub(crate) mod handle;
mod idling;
mod journal;
pub(crate) mod leases;
mod rollback;
mod save_disk;
mod saved;
mod steps;
pub(crate) mod swap;
mod template_steps;
mod volumes;
pub(crate) mod work;

pub(crate) use files::remove_snapshot;
