//! The arithmetic behind the figures. Nothing here measures anything.
//!
//! | to know | open |
//! |---|---|
//! | where a sample's middle and its tails are | [`summary`] |
//! | whether two samples differ beyond noise | [`ranks`] |
//! | by how much, and how sure that is | [`bootstrap`] |

pub(crate) mod bootstrap;
pub(crate) mod ranks;
pub(crate) mod summary;
