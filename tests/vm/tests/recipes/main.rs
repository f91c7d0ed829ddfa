//! The images that bhatti's recipes make, each booted and used for what it is for.
//!
//! Everything runs without a network. Machines have two vCPUs: under software emulation each is a
//! thread of the host.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

mod ai;
mod browser;
mod build;
mod desktop;
mod docker;
mod machine;
mod picture;
mod postgres;
mod tunnel;
mod vnc;
