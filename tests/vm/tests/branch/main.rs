//! Forks, rollbacks and the tree, with real guests.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

mod cut_off;
mod forks;
mod refusal;
mod rollbacks;
