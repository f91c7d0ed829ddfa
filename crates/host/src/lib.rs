//! Every effect bhatti has on its host: programs, processes, files, guest memory, locks.
//!
//! | to do this | open |
//! |---|---|
//! | run a program and take its output | [`command`] |
//! | have a program read what strangers have written | [`nobody`] |
//! | start a process that outlives the daemon, find it again, end it | [`process`] |
//! | have a process of one's own do a piece of work | [`worker`] |
//! | take from this process what it does not need | [`confine`](mod@confine) |
//! | write, clone, check and delete files so that a crash leaves no half | [`files`] |
//! | find what files share and what is their own | [`extents`] |
//! | check a large file by parts, at the cost of those that changed | [`sums`] |
//! | tell which pages of a guest are its own and copy them | [`memory`] |
//! | ask what the host has: boot id, free memory, clock rate | [`facts`] |
//! | hold a data directory for oneself | [`lock`] |
//! | make the host's end of a guest's network card | [`tap`] |
//! | have storage that shares blocks between copies | [`pool`] |

pub mod command;
pub mod confine;
mod cow;
pub mod extents;
pub mod facts;
mod fiemap;
pub mod files;
pub mod lock;
pub mod memory;
pub mod nobody;
mod pagemap;
pub mod pool;
pub mod process;
pub mod sums;
pub mod tap;
pub mod worker;
