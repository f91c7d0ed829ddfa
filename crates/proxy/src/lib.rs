//! The reverse proxy in front of services in machines: it finds whom a request is for, has the
//! machine woken, and carries requests and answers without holding them.
//!
//! | to see | open |
//! |---|---|
//! | what the proxy asks of the rest of bhatti | [`sites`] |
//! | which site a request is for | [`route`] |
//! | which headers pass, and what is added | [`headers`] |
//! | how one request is carried | [`forward`] |
//! | how a WebSocket is carried | [`upgrade`] |
//! | connections to services that are kept for the next request | [`pool`] |
//! | how much strangers may ask for | [`limits`] |
//! | what a client sees in place of an answer | [`page`] |
//! | listening | [`serve`] |
//!
//! ```text
//! client ── serve ── route ── limits ── forward ── pool ── Sites::connect ── service in the guest
//!                                          └── headers      (wakes the machine)
//! ```

pub mod forward;
pub mod headers;
mod held;
pub mod limits;
pub mod page;
pub mod pool;
pub mod route;
pub mod serve;
pub mod sites;
mod upgrade;
