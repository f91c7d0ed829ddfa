//! The proxy between real clients and real services on loopback, with sites that are made up.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail the test")]

mod fixture;
mod http1;
mod http2;
mod smuggling;
mod waking;
mod websocket;
