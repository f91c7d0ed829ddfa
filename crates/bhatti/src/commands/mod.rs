//! The commands, one file each.

pub(crate) mod backup;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod create;
pub(crate) mod destroy;
pub(crate) mod edit;
pub(crate) mod exec;
pub(crate) mod fork;
pub(crate) mod idle_args;
pub(crate) mod image;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod pause;
pub(crate) mod rollback;
pub(crate) mod serve;
pub(crate) mod setup;
pub(crate) mod size_args;
pub(crate) mod sleep;
pub(crate) mod snapshot;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod template;
pub(crate) mod tree;
pub(crate) mod user;
pub(crate) mod version;
pub(crate) mod volume;
