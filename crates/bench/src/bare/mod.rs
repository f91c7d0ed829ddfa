//! The floor: what is physically there, without bhatti.
//!
//! | the bare | is in |
//! |---|---|
//! | machine: QEMU on the same files, its control protocol, the agent's hello, a command | [`machine`] |
//! | machine from an image, with an identity and durable | [`clone`] |
//! | control protocol | [`qmp`] |
//! | round trip over a unix socket | [`round_trip`] |
//!
//! Machines are started with the command line that bhatti's own have, so that both run the same
//! guest; what is measured against it, starting, asking and waiting, is written here anew.

pub(crate) mod clone;
pub(crate) mod machine;
pub(crate) mod qmp;
pub(crate) mod round_trip;
