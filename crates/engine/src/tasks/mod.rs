//! Work that takes longer than a request lasts: pulls, imports, pushes.
//!
//! A task belongs to the user who asked for it and is known for a day after its end, but no longer
//! than the daemon lives: what it makes is either there as a whole or not at all, so there is
//! nothing to go on with. When the engine is closed its tasks are cancelled; what a killed daemon
//! leaves of them is deleted at the next start by whoever owns the place.
//!
//! | to do this | open |
//! |---|---|
//! | begin one, look at them, cancel one | [`registry`] |
//! | say from inside how far it is | [`progress`] |

pub mod progress;
pub mod registry;
mod view;
