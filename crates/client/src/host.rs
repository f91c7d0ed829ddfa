//! Calls about the daemon itself.

use bhatti_api::host::{Health, Version};
use bhatti_api::idle::{SleepAll, SleptAll};

use crate::client::{Call, Client};
use crate::error::Error;

impl Client {
    /// Puts all machines of all users to disk, before the host goes down.
    pub async fn sleep_all(&self, all: &SleepAll) -> Result<SleptAll, Error> {
        self.fetch(Call::post("/sleep", "POST /sleep", all)).await
    }

    /// Whether the daemon is there. Needs no token.
    pub async fn health(&self) -> Result<Health, Error> {
        self.fetch(Call::get("/health", "GET /health")).await
    }

    /// Which version the daemon is of.
    pub async fn version(&self) -> Result<Version, Error> {
        self.fetch(Call::get("/version", "GET /version")).await
    }
}
