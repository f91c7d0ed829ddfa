//! A VMM without machines: its processes are values, its guests are the real agent in this
//! process, and it breaks when it is told to.
//!
//! A [`host::FakeHost`] is the machine that all of it runs on. It is the engine's
//! [`bhatti_vmm::machine::Vmm`] and outlives the engine, so that another engine over the same data
//! directory finds its processes and adopts them. It works on the real files of the data directory.
//!
//! ```text
//! engine ── host::FakeHost ── process::Process ── guest::Guest ── gate::Gate ── lohar
//!                │              (one "VMM")        memory, disk    stands still with the vCPUs
//!             faults                               (records)
//! ```
//!
//! What a guest remembers is one number in its memory and one on its disk, set by commands
//! ([`guest`] names them). Whatever breaks an invariant of the product is kept as a violation:
//!
//! - memory that goes on over another disk than the one it was saved over,
//! - two machines on one disk,
//! - device state with other memory than its own,
//! - memory whose file was written to or deleted while a machine maps it,
//! - a command in a guest that was not told who it is.
//!
//! Works in a runtime whose clock is paused (`tokio::time::pause`): nothing here waits for
//! anything but the engine, so that hours of idleness and time limits take no time.

pub mod fault;
mod gate;
pub mod guest;
pub mod host;
mod machine;
mod process;
mod reaper;
mod record;
pub mod stage;
mod volumes;
