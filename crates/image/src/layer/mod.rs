//! Layers of container images: archives of files, each over the ones below it.
//!
//! Every layer is hostile. It is only ever read as a stream of bytes: nothing that is in it gets
//! a path on the host, and each count and length in it is held to [`limits::Limits`].
//!
//! | to do this | open |
//! |---|---|
//! | name a layer by what is in it | [`digest`] |
//! | hold a layer and its index | [`files`] |
//! | read a compressed blob | [`decompress`] |
//! | find what is in a layer, in one pass | [`scan`](mod@scan) |
//! | keep what was found | [`index`] |
//! | put layers over each other | [`merge`](mod@merge) |
//! | fetch layers, keep them and delete them | [`store`] |

mod codec;
pub mod decompress;
pub mod digest;
pub mod files;
pub mod index;
pub mod limits;
pub mod merge;
#[cfg(test)]
mod merge_test;
mod path;
pub mod scan;
#[cfg(test)]
mod scan_test;
pub mod store;
pub(crate) mod tar;
