//! Volumes in real guests.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

mod attach;
mod backup;
mod copies;
mod host;
mod restart;
