//! Other products, doing the same with the same guest on the same accelerator.

mod domain;
pub(crate) mod libvirt;
