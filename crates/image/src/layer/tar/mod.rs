//! Reads tar archives: v7, ustar, PAX and GNU, as a stream, in one pass.
//!
//! What Go's `archive/tar` accepts is accepted and understood in the same way, for that is what
//! the tools are written with that make and unpack layers.

pub(crate) mod entries;
mod header;
mod pax;
mod sparse;
mod stream;

#[cfg(test)]
pub(crate) mod build;
