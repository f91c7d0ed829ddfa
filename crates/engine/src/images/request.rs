//! What callers ask for about images, already checked as far as its form goes.

use std::fmt;

use bhatti_types::name::ImageName;

use crate::request::ImagePlace;

/// A user and its password, or token, for a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct RegistryUser {
    /// The user.
    pub name: String,
    /// The password. Never shown or logged.
    pub password: String,
}

impl fmt::Debug for RegistryUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryUser")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How a registry is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryAccess {
    /// Who asks; nobody if `None`.
    pub user: Option<RegistryUser>,
    /// Plain HTTP, or a certificate that is not checked.
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
