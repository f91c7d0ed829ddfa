//! The one program that a machine keeps running.
//!
//! | module | does |
//! |---|---|
//! | [`backoff`] | how long to wait before it is started again |
//! | [`log`] | keeps what it writes, bounded, in two files |
//! | [`logs`] | gives it to the daemon |
//! | [`supervisor`] | starts it, watches over it, ends it |
//!
//! What is known of it lives in the agent's memory, and so in that of the machine: a snapshot, a
//! fork and a sleep keep it with the program itself, and only a boot begins anew.

pub(crate) mod backoff;
pub(crate) mod log;
pub(crate) mod logs;
pub(crate) mod supervisor;
