//! The daemon's HTTP API: handlers that check parameters, convert types and map errors. The rules
//! are the engine's.
//!
//! Entry is [`serve::serve`]. A request passes [`observe`] (its id, its log line, a panic's
//! answer), then the guard of its route (who asks, the rate limit), then its handler in
//! `routes`. Handlers that change something run as tasks of the daemon, so that they finish even
//! if the client goes away.

pub mod app;
pub mod peer;
pub mod serve;

mod body;
mod convert;
mod error;
mod exec;
mod extract;
mod guard;
mod image_convert;
mod image_view;
mod limits;
mod observe;
mod routes;
mod run;
mod view;
