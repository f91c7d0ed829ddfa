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
    /// Speak plain HTTP, or do not check the registry's certificate
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
            Some((username, password)) if !username.is_empty() => {
                Ok(Some(GivenAuth::Apart(RegistryAuth {
                    username: username.to_owned(),
                    password: password.to_owned(),
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
