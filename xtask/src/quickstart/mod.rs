//! `cargo xtask quickstart`: from a clone of the repository to a daemon with real machines in it.
//!
//! Running it again goes through the same steps, does what is not done yet, and says for each
//! thing whether it was there, made or replaced.

mod daemon;
mod link;
mod program;
mod steps;
mod tour;

pub(crate) use steps::run;
