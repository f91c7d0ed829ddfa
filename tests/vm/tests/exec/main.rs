//! Commands in real guests: every way to run one and every way it can end, byte for byte.
//!
//! A boot takes seconds under software emulation, so each test runs many commands in one machine,
//! and ends by checking that nothing of them is left in it.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

mod answers;
mod bulk;
mod endings;
mod gone;
mod machine;
mod many;
mod settings;
mod streams;
