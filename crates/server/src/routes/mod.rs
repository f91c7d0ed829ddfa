//! The handlers, one file for each resource.

mod backups;
mod exec;
mod host;
mod images;
mod logs;
mod sandboxes;
mod shell;
mod snapshots;
mod table;
mod tasks;
mod templates;
mod tree;
mod users;
mod volumes;

pub(crate) use table::handler;
