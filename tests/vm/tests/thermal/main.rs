//! Machines that idle, and what wakes them, with real guests.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]

mod broken;
mod cycles;
mod density;
mod full;
mod idle;
mod pressure;
mod races;
mod timers;

use std::time::Duration;

use bhatti_api::sandbox::{CreateSandbox, Sandbox};
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::wait::wait_for;

/// Time for idleness to have its effect on two busy cores.
const LIMIT: Duration = Duration::from_mins(1);

/// Makes a sandbox with idle times of its own.
async fn create(daemon: &Daemon, name: &str, pause: &str, cold: &str) -> Guest {
    let new = CreateSandbox {
        name: Some(name.to_owned()),
        memory_mb: Some(256),
        idle_pause: Some(pause.to_owned()),
        idle_cold: Some(cold.to_owned()),
        ..CreateSandbox::default()
    };
    let created = daemon.client().sandbox_create(&new).await;
    created.unwrap_or_else(|error| panic!("no sandbox was made: {error}"));
    Guest::new(daemon.client(), name)
}

/// Waits until it is hot, warm or cold.
async fn is(guest: &Guest, thermal: &str) -> Sandbox {
    wait_for(
        &format!("{} to be {thermal}", guest.name()),
        LIMIT,
        async || {
            let now = guest.view().await;
            if now.thermal == thermal {
                Ok(now)
            } else {
                Err(now.thermal)
            }
        },
    )
    .await
}
