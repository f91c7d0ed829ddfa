//! The HTTP contract between the daemon and its clients: bodies, the error body, the table of
//! routes. Field names are those of the Go original wherever it has the feature, so that its own
//! command line can drive this daemon.

pub mod error;
pub mod exec;
pub mod host;
pub mod idle;
pub mod image;
pub mod openapi;
pub mod routes;
pub mod run;
pub mod sandbox;
pub mod shell;
pub mod snapshot;
pub mod task;
pub mod template;
pub mod tree;
pub mod user;
pub mod volume;
