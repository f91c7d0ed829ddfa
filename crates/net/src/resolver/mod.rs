//! The resolver of a user's network: it listens on the gateway, in the user's namespace.
//!
//! | module | does |
//! |---|---|
//! | [`answer`] | says what a question is answered with, as a pure function |
//! | [`upstream`] | asks the resolvers outside, from the host's namespace |
//! | [`server`] | listens, and bounds who asks |
//!
//! `NAME.sb` is the address of the user's machine of that name, whatever state it is in, and an
//! address of the network has that name. It may change at any time, so nobody is to remember it.
//! Everything else is passed on unread, except for a machine that may reach nothing outside: a
//! question is a way to say something, too.

mod answer;
pub(crate) mod server;
pub(crate) mod upstream;
