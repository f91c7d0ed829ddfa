//! Flags of what speaks to a registry.

use bhatti_api::image::{GivenAuth, RegistryAuth};
use clap::Args;

use crate::failure::Failure;

/// How a registry is spoken to.
#[derive(Debug, Args)]
pub(super) struct RegistryArgs {
    /// User and token for the registry, in place of those that Docker and Podman use here
    #[arg(long, value_name = "USER:TOKEN", hide_env_values = true)]
    auth: Option<String>,
    /// Speak plain HTTP with the registry
    #[arg(long)]
    pub(super) insecure: bool,
}

impl RegistryArgs {
    /// The credentials that were given.
    pub(super) fn given(&self) -> Result<Option<GivenAuth>, Failure> {
        let Some(text) = &self.auth else {
            return Ok(None);
        };
        match text.split_once(':') {
            Some((user, secret)) if !user.is_empty() => {
                Ok(Some(GivenAuth::Kind(RegistryAuth::Password {
                    user: user.to_owned(),
                    secret: secret.to_owned(),
                })))
            }
            // Not repeated: it may be a password without its user.
            _ => Err(Failure::Usage {
                message: "--auth must be USER:TOKEN".to_owned(),
                hint: None,
            }),
        }
    }
}
