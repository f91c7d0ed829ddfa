//! Templates: machines that have booted once, from which creates are forked.
//!
//! ```text
//! templates/<id>/manifest, state, mem, disk.raw    an image like a checkpoint's
//!               template.json                      what it was made of; its digest is the id
//!               used                               how often, and by its time, when last
//! templates/.new-<id>/                             the machine that one is being made of
//! ```
//! A template is a cache: it is made by the first create of its shape, deleted when the disk is
//! short or there are too many, and nothing that was made from it needs it any longer.
//!
//! | module | does |
//! |---|---|
//! | [`shape`] | what makes two machines alike until they are told who they are |
//! | [`registry`] | which templates there are, who uses and who makes one |
//! | [`disk`] | reads them at the start, and forgets what is out of date |
//! | [`build`] | makes one, once for all who wait for it |
//! | [`room`] | deletes them, the least recently used first |
//! | [`stock`] | started clones for creates to come |

pub(crate) mod build;
mod disk;
pub(crate) mod registry;
mod room;
pub mod shape;
pub(crate) mod stock;
mod view;
