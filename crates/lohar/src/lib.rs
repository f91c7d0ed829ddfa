//! The agent inside each guest: PID 1, and the guest's end of the agent link.
//!
//! As PID 1 it brings the system up ([`init`]), answers on the virtio port ([`port`],
//! [`session`]), runs commands ([`exec`]) and reaps whatever dies ([`reaper`]). All of it is one
//! thread with small buffers: about 2 MiB resident, with a bound for each command that runs (what
//! yamux lets the daemon send ahead, 256 KiB of input that the command does not read).
//!
//! Everything but [`init`], [`port`] and [`run`] also works inside another process, with fake
//! effects ([`fake`]): that is how the daemon is tested without a virtual machine.
//!
//! ```text
//! port ── session::serve ── yamux ──┬── operation ── exec ── reaper
//!                                   ├── operation ── system (identity, sync, power off, timers)
//!                                   ├── operation ── dial (a service in the guest)
//!                                   └── …
//! ```

pub mod agent;
mod buffered;
mod dial;
mod exec;
pub mod fake;
mod freezer;
pub mod init;
pub mod modprobe;
mod operation;
pub mod port;
mod ports;
mod probe;
pub mod reaper;
pub mod run;
mod service;
pub mod session;
mod sys;
pub mod system;
mod systemctl;
mod terminal;
mod timers;
mod volumes;
