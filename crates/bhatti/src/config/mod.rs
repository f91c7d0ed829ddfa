//! What `bhatti` is told: built-in defaults, two files, the environment, flags.

pub(crate) mod backup;
pub(crate) mod environment;
pub(crate) mod error;
pub(crate) mod file;
pub(crate) mod keys;
pub(crate) mod load;
pub(crate) mod settings;
