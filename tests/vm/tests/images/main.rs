//! Images: made of machines, of registries' and of archives, and machines made of them.

#![expect(clippy::panic, reason = "a fixture that fails fails its test")]

mod pulls;
mod registry;
mod saves;
