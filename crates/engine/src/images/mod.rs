//! Images that machines can be made from: whose they are, who sees them, and what is done to them.
//!
//! A name means, for a user: the image of the user's own, else the one that has been shared with
//! the user the longest, else the host's. An image's id means that image if the user sees it.
//!
//! | to do this | open |
//! |---|---|
//! | find the image that a name means, and keep it while it is used | [`lookup`] |
//! | show images | [`view`] |
//! | pull one from a registry | [`pull`] |
//! | make one of an archive | [`import`] |
//! | give one away | [`export`] |
//! | make one of a machine's disk | [`save`] |
//! | delete one | [`delete`] |
//! | let others see one | [`share`] |
//! | delete what no image needs any more | [`gc`] |

mod delete;
mod error;
mod export;
pub mod gc;
mod import;
pub(crate) mod lookup;
mod make;
pub mod pull;
mod quota;
pub mod request;
mod save;
mod share;
mod view;
