//! The words of bhatti as validated values: ids, names, sizes, labels, states.
//!
//! Everything here is plain data. A value of one of these types has been checked, so no other
//! crate checks it again; a raw `String` or `u64` does not cross a crate edge.

pub mod cidr;
pub mod egress;
pub mod env;
pub mod id;
pub mod idle;
pub mod image_name;
pub mod invalid;
pub mod labels;
pub mod mac;
pub mod mount;
pub mod name;
pub mod parent;
pub mod run;
pub mod secret;
pub mod size;
pub mod state;
