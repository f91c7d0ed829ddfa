//! A program in a guest that watches its clocks.

use std::time::Duration;

use bhatti_api::exec::ExecRequest;
use bhatti_testing::guest::{Guest, as_root};
use bhatti_testing::wait::wait_for;
use serde::Deserialize;

/// The program.
const PROGRAM: &str = include_str!("clocks.py");
/// Time for it to be ready, and to be over once its sleep is.
const LIMIT: Duration = Duration::from_mins(1);

/// What it saw, in seconds.
#[derive(Debug, Deserialize)]
pub(crate) struct Saw {
    /// The longest step of each clock between two looks at it.
    pub(crate) jumps: Clocks,
    /// How long its sleep took by each clock.
    pub(crate) slept: Clocks,
    /// What its timer of the wall clock ended with.
    pub(crate) timer: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Clocks {
    pub(crate) monotonic: f64,
    pub(crate) boottime: f64,
    pub(crate) realtime: f64,
}

/// Starts it with a sleep of so many seconds, and waits until that has begun.
pub(crate) async fn start(guest: &Guest, seconds: u64) {
    let request = ExecRequest {
        detach: true,
        timeout_sec: None,
        ..as_root(&["python3", "-c", PROGRAM, &seconds.to_string()])
    };
    let started = guest.client().exec_detached(guest.name(), &request).await;
    let started = started.expect("the program starts");
    wait_for("the clocks' watcher", LIMIT, async || {
        let line = format!(
            "test -e /run/clocks/ready || {{ cat {}; false; }}",
            started.output_file
        );
        match guest.try_sh(&line).await {
            Ok(result) if result.exit_code == 0 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}

/// Waits until it is over and gives what it saw.
pub(crate) async fn saw(guest: &Guest) -> Saw {
    let told = wait_for("what the clocks' watcher saw", LIMIT, async || match guest
        .try_sh("cat /run/clocks/saw")
        .await
    {
        Ok(result) if result.exit_code == 0 => Ok(result.stdout),
        other => Err(other),
    })
    .await;
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
}
