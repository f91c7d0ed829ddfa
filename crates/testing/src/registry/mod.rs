//! A real registry on loopback (`docker-registry`), images to put into it, and a man in the middle
//! who counts, cuts and spoils what it says.
//!
//! | to do this | open |
//! |---|---|
//! | run a registry | [`server`] |
//! | make images as directories | [`layout`] |
//! | stand between a registry and its client | [`between`] |
//! | give out tokens | [`tokens`] |

pub mod between;
pub mod layout;
pub mod server;
pub mod tokens;
