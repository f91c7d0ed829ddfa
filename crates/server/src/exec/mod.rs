//! Commands: from what the guest sends to what HTTP carries.

pub(crate) mod buffered;
pub(crate) mod lines;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod terminal;

mod text;
