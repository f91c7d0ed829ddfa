//! Fixtures for tests: a real daemon over a fresh data directory, its command line in a clean
//! environment, and waiting without sleeping.
//!
//! Needs the guest kit and the base image in the cache; `cargo xtask test` makes them.

pub mod artifacts;
pub mod cli;
pub mod daemon;
pub mod wait;
