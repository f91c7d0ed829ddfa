//! Virtual machine monitors behind one trait.
//!
//! [`machine`] holds the traits and what a machine is made of; [`qemu`] is the engine. A VMM is a
//! process of its own that outlives the daemon; another daemon adopts it.

pub mod error;
pub mod machine;
pub mod qemu;
