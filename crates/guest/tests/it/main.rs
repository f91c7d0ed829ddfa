//! The link with a real agent at its other end, running its commands on this machine.

mod broken;
mod calls;
mod exec;
mod fixture;
mod kill;
mod resync;
mod streams;
