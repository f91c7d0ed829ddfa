//! The link with a real agent at its other end, running its commands on this machine.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may fail the test"
)]

mod broken;
mod calls;
mod dial;
mod exec;
mod fixture;
mod kill;
mod older;
mod resync;
mod services;
mod streams;
mod terminals;
