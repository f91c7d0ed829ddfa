//! Every effect bhatti has on its host: programs, processes, files, guest memory, locks.
//!
//! | to do this | open |
//! |---|---|
//! | run a program and take its output | [`command`] |
//! | start a process that outlives the daemon, find it again, end it | [`process`] |
//! | write, clone, check and delete files so that a crash leaves no half | [`files`] |
//! | tell which pages of a guest are its own and copy them | [`memory`] |
//! | ask what the host has: boot id, free memory, clock rate | [`facts`] |
//! | hold a data directory for oneself | [`lock`] |
//! | have storage that shares blocks between copies | [`pool`] |

pub mod command;
pub mod facts;
pub mod files;
pub mod lock;
pub mod memory;
pub mod pool;
pub mod process;
