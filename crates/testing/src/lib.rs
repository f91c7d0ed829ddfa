//! Fixtures for tests: a real daemon over a fresh data directory, its command line in a clean
//! environment, guests and a program in them that shows whether anything was lost, and waiting
//! without sleeping. And a VMM that is none ([`fake_vmm`]), for an engine without machines.
//!
//! All but the latter needs the guest kit and the base image in the cache; `cargo xtask test`
//! makes them.

#![expect(clippy::panic, reason = "a fixture that fails fails its test")]

pub mod artifacts;
pub mod bare;
pub mod cli;
pub mod counting;
pub mod daemon;
pub mod fake_vmm;
pub mod guest;
pub mod http;
pub mod internet;
pub mod registry;
pub mod small_image;
pub mod stream;
pub mod templates;
pub mod wait;
pub mod witness;
