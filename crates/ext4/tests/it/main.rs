//! File systems as other programs see them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests may fail the test, and say why they are skipped"
)]

mod fill;
mod kernel;
mod programs;
mod read;
