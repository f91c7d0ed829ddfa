//! Calls about the daemon itself.

use bhatti_api::host::{Health, Version};

use crate::client::{Call, Client};
use crate::error::Error;

impl Client {
    /// Whether the daemon is there. Needs no token.
    pub async fn health(&self) -> Result<Health, Error> {
        self.fetch(Call::get("/health", "GET /health")).await
    }

    /// Which version the daemon is of.
    pub async fn version(&self) -> Result<Version, Error> {
        self.fetch(Call::get("/version", "GET /version")).await
    }
}
