//! The measurements, one file for each group of the catalogue.
//!
//! All are alike: a round takes one sample on each side, each side comes first in its turn, and
//! what has to be prepared is prepared before a clock runs.

pub(crate) mod checkpoint;
pub(crate) mod clones;
pub(crate) mod cold;
pub(crate) mod exec;
pub(crate) mod forks;
pub(crate) mod life;
pub(crate) mod list;
pub(crate) mod stock;
pub(crate) mod warm;
