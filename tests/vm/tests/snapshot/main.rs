//! Checkpoints, sleeping and waking, with real guests.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

mod copies;
mod damage;
mod files;
mod limits;
mod sizes;
mod sleep;
