//! Terminals: programs that believe that a person sits before them.
//!
//! | module | does |
//! |---|---|
//! | [`pty`] | the kernel's end of a terminal |
//! | [`scrollback`] | what was shown last, for who comes back |
//! | [`session`] | one program with its terminal, and who is attached to it |
//! | [`sessions`] | all of them |
//!
//! A session lives in the guest's memory. It outlives the link, the daemon, and with the machine
//! every sleep; it ends with its program.

mod pty;
mod scrollback;
mod session;
pub(crate) mod sessions;
