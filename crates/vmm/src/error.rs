//! What can go wrong with a VMM.

use std::time::Duration;

use bhatti_host::memory::MemoryError;

/// A VMM did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum VmmError {
    /// The program is not installed.
    #[error("the VMM program {program:?} was not found")]
    NoProgram {
        /// What was looked for.
        program: String,
    },
    /// A file of the machine could not be made ready or read.
    #[error("failed to {action}")]
    Files {
        /// What was to be done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The process could not be started or watched.
    #[error("failed to start the VMM")]
    Start(#[source] std::io::Error),
    /// The process ended by itself.
    #[error("the VMM ended while it was to {action}: {log}")]
    Ended {
        /// What was being done.
        action: &'static str,
        /// The end of what it wrote to its log.
        log: String,
    },
    /// It did not answer in time.
    #[error("the VMM did not {action} in {limit:?}")]
    Timeout {
        /// What was being done.
        action: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// It answered a command with an error.
    #[error("the VMM refused {command:?}: {description}")]
    Refused {
        /// The command.
        command: &'static str,
        /// Its words.
        description: String,
    },
    /// It answered something that is not its protocol.
    #[error("the VMM's answer to {command:?} was not understood")]
    Protocol {
        /// The command.
        command: &'static str,
    },
    /// The control connection broke.
    #[error("the control connection to the VMM broke")]
    Control(#[source] std::io::Error),
    /// The guest's memory could not be copied.
    #[error("failed to copy the guest's memory")]
    Memory(#[from] MemoryError),
}

impl VmmError {
    /// Whether it was the caller who wanted no more of it.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Memory(MemoryError::Cancelled))
    }
}
