//! Running commands.
//!
//! | module | does |
//! |---|---|
//! | [`users`] | finds a user in the image's own files |
//! | [`lookup`] | finds a program on the command's PATH |
//! | [`plan`] | turns a request into all that starting it needs |
//! | [`child`] | starts it |
//! | [`attached`] | carries its output, and ends it when it has to |
//! | [`stdin`] | carries its input |
//! | [`detached`] | leaves it to itself |
//! | [`kill`] | ends it with all of its own |
//! | [`registry`] | who runs |

pub(crate) mod attached;
pub(crate) mod child;
pub(crate) mod detached;
pub(crate) mod kill;
pub(crate) mod lookup;
pub(crate) mod plan;
pub(crate) mod refusal;
pub(crate) mod registry;
pub(crate) mod stdin;
pub(crate) mod users;
