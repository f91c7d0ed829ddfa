//! The host's end of the agent link: what the daemon asks of a guest, and what it gets back.
//!
//! Entry is [`link::Link::open`] over any byte stream that leads to a `lohar`. A [`link::Link`]
//! is cheap to clone; each call is one stream of its own, so no call waits for another. What the
//! guest sends is hostile until checked: whatever it does, it can end its own link and nothing
//! else.
//!
//! ```text
//! Link ─┐                       ┌─ handshake (once)
//! Exec ─┼─ Inner ── channel ──► driver task ── yamux ── byte stream
//! Link ─┘    ▲                  │
//!            └── why it ended ──┘
//! ```

pub mod agent;
pub mod connection;
mod driver;
mod error;
pub mod exec;
mod handshake;
pub mod identity;
pub mod link;
pub mod service;
mod stream;
pub mod terminal;
pub mod volumes;
