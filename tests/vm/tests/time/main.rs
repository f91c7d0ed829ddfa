//! What a guest sees of time, and what it says of its own timers.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

mod clocks;
mod next;
mod sleep;
