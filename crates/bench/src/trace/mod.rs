//! Where the time of one operation goes, step by step, from the spans the daemon emits.
//!
//! | | is in |
//! |---|---|
//! | reading the daemon's trace file | [`events`] |
//! | which span is in which, and what is between them | [`tree`] |
//! | what is traced | [`script`] |

pub(crate) mod events;
pub(crate) mod script;
pub(crate) mod tree;
