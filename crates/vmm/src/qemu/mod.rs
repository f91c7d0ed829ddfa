//! QEMU, machine type `microvm`.
//!
//! [`arguments`] builds the command line (pure), [`qmp`] speaks the control protocol,
//! [`launcher`] starts and finds processes, [`machine`] is one of them, [`volumes`] are disks that
//! come and go.

pub mod arguments;
pub mod launcher;
mod machine;
mod qmp;
mod volumes;
