//! The wire between the daemon and `lohar`, the agent inside a guest.
//!
//! One byte stream leads to a guest. On it comes first a handshake ([`hello`]) that finds its
//! footing in any garbage, then yamux ([`mux`]); the daemon opens one yamux stream per
//! operation, and on each stream go length-delimited messages ([`message`], [`codec`]).
//!
//! ```text
//! daemon                                   agent
//!   0xFF… HELLO(nonce)  ────────────────►  (whatever it was doing ends)
//!                       ◄────────────────  ACK(nonce, what I am)
//!   START(nonce)        ────────────────►
//!   yamux client        ◄───────────────►  yamux server
//! ```
//!
//! Nothing here does I/O of its own: bytes come and go through slices and the `futures` traits.
//! Agents sleep inside old snapshots, so what is here is frozen per [`version`]; golden files in
//! `contracts/` hold it.

pub mod codec;
pub mod fuzz;
pub mod hello;
pub mod message;
pub mod mux;
pub mod service;
pub mod terminal;
pub mod version;
