//! Makes a disk of layers, in a process that can do nothing else.
//!
//! What strangers made is read by a worker without privileges, network and files but those that it
//! was given open: it finds what is in a layer ([`inspect`](mod@inspect)), and writes a disk of
//! layers ([`convert`](mod@convert)). Only the empty file system is made by this process, with
//! `mke2fs`, which gets nothing but numbers.
//!
//! | to do this | open |
//! |---|---|
//! | make a disk of layers | [`convert`](mod@convert) |
//! | find what is in a layer | [`inspect`](mod@inspect) |
//! | say how the worker is started and what it may use | [`options`] |
//! | be the worker | [`worker`] |

pub mod contents;
#[expect(
    clippy::module_inception,
    reason = "the function that all the others are for"
)]
pub mod convert;
pub mod inspect;
mod job;
pub mod options;
mod process;
pub mod worker;

#[cfg(test)]
mod test;
#[cfg(test)]
mod umoci_test;
