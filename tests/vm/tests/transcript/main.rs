//! The command line against a real daemon and real machines, word for word.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

mod commands;
mod life;
mod users;
