//! What callers ask for about images, already checked as far as its form goes.

pub use bhatti_image::oci::credentials::{Credentials, Secret};
use bhatti_types::name::ImageName;

use crate::request::ImagePlace;

/// How a registry is spoken to.
#[derive(Debug, Clone, Default)]
pub struct RegistryAccess {
    /// Who asks; nobody if `None`.
    pub credentials: Option<Credentials>,
    /// In plain HTTP.
    pub insecure: bool,
}

/// An image to be pulled.
#[derive(Debug, Clone)]
pub struct Pull {
    /// Which, in the words of registries.
    pub reference: String,
    /// What it is to be called; after its reference if `None`.
    pub name: Option<ImageName>,
    /// Whose it becomes.
    pub place: ImagePlace,
    /// The platform, such as `linux/arm64`; the host's if `None`.
    pub platform: Option<String>,
    /// How the registry is spoken to.
    pub access: RegistryAccess,
}

/// An image to be read from an archive.
#[derive(Debug, Clone)]
pub struct Import {
    /// What it is to be called.
    pub name: ImageName,
    /// Whose it becomes.
    pub place: ImagePlace,
    /// Its name in the Docker or Podman it was saved from, if it was.
    pub docker: Option<String>,
}

/// An image to be pushed.
#[derive(Debug, Clone)]
pub struct Push {
    /// Where to, in the words of registries.
    pub reference: String,
    /// How the registry is spoken to.
    pub access: RegistryAccess,
}
