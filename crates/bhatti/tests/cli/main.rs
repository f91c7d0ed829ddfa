//! What the command line says and does, against a daemon that is played by the test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fixture that cannot be set up fails its test"
)]

mod config;
mod daemon;
mod exec;
mod fixture;
mod help;
mod images;
mod results;
mod serve;
mod setup;
mod stage;
mod stage_images;
mod terminal;
mod wrong;
