//! Typed client of the daemon's API, over its unix socket, plain TCP or TLS.
//!
//! [`client::Client`] has one method for each route; each call is one HTTP exchange on a
//! connection of its own. [`exec::ExecInput`] and [`exec::ExecOutput`] are the two halves of a
//! command that runs in a sandbox.

pub mod client;
mod connect;
pub mod endpoint;
pub mod error;
pub mod exec;
mod host;
pub mod images;
pub mod lines;
pub mod logs;
mod reply;
mod sandboxes;
pub mod shell;
mod snapshots;
mod tasks;
mod templates;
mod tls;
pub mod token;
mod users;
mod volumes;
