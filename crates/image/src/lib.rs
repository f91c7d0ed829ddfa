//! What guests are made of: root file systems and the guest kit.
//!
//! | to do this | open |
//! |---|---|
//! | find or install the guest kits of a data directory | [`kit`] |
//! | build a guest kit from a distribution kernel and `lohar` | [`guest_kit`] |
//! | find or install the images of a data directory | [`catalog`] |
//! | move images to where machines are kept | [`intake`] |
//! | say what an image is | [`image`] |
//! | say how commands run in machines of an image | [`image_config`] |
//! | read images of registries and archives | [`oci`] |
//! | describe an image that is made from packages | [`recipe`] |
//! | find a recipe that bhatti ships | [`recipes`] |
//! | make the image of a recipe | [`recipe_build`] |
//! | make it right in a data directory | [`recipe_install`] |
//! | read the layers of container images | [`layer`] |
//! | make a disk of layers | [`convert`] |
//!
//! Kits and images are immutable once they are in place: a new one is built beside the old and
//! renamed, so that a machine which was started from the old one keeps what it has.

pub mod catalog;
pub mod convert;
pub mod fuzz;
pub mod guest_kit;
pub mod image;
pub mod image_config;
pub mod intake;
pub mod kit;
pub mod layer;
pub mod oci;
mod place;
pub mod proxies;
pub mod recipe;
pub mod recipe_build;
mod recipe_file;
pub mod recipe_install;
pub mod recipes;
