//! Flags of what speaks to a registry.

use std::ffi::OsString;

use bhatti_api::image::{GivenAuth, RegistryAuth};
use bhatti_image::oci::auth_files::{Places, find};
use bhatti_image::oci::credentials::{Credentials, Secret};
use bhatti_image::oci::reference::Reference;
use bhatti_types::invalid::Invalid;
use clap::Args;

use crate::failure::Failure;
use crate::run::Context;

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
    /// The credentials that were given, or those that Docker and Podman have for the registry.
    pub(super) async fn credentials(
        &self,
        reference: &str,
        context: &Context,
    ) -> Result<Option<GivenAuth>, Failure> {
        let credentials = match &self.auth {
            Some(text) => Some(given(text)?),
            None => found(reference, context).await?,
        };
        Ok(credentials.map(|credentials| GivenAuth::Kind(sent(credentials))))
    }
}

fn given(text: &str) -> Result<Credentials, Failure> {
    // Not repeated: it may be a password without its user.
    text.parse().map_err(|_| Failure::Usage {
        message: "--auth must be USER:TOKEN".to_owned(),
        hint: None,
    })
}

async fn found(reference: &str, context: &Context) -> Result<Option<Credentials>, Failure> {
    let reference: Reference = reference.parse().map_err(|error: Invalid| Failure::Usage {
        message: error.to_string(),
        hint: None,
    })?;
    let places = Places::from_lookup(|name| context.environment.get(name).map(OsString::from));
    find(&places, &reference)
        .await
        .map_err(|source| Failure::Credentials {
            source: Box::new(source),
        })
}

fn sent(credentials: Credentials) -> RegistryAuth {
    let text = |secret: Secret| secret.reveal().to_owned();
    match credentials {
        Credentials::Password { user, secret } => RegistryAuth::Password {
            user,
            secret: text(secret),
        },
        Credentials::Identity { secret } => RegistryAuth::Identity {
            secret: text(secret),
        },
        Credentials::Bearer { secret } => RegistryAuth::Bearer {
            secret: text(secret),
        },
    }
}
