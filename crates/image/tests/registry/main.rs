//! Pulls, pushes and archives, against a real registry and the tools that others use.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests may fail the test, or say why it is skipped"
)]

mod archive;
mod pull;
mod push;
mod support;
