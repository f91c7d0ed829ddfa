//! A program in a guest that holds state in all the places a machine has: memory, a timer, two
//! processes with a connection between them, a pipe half full, files on disk and in tmpfs, and a
//! file that has no name any more. It says on request whether all of it is right.

use std::time::Duration;

use bhatti_api::exec::ExecRequest;
use serde::Deserialize;

use crate::guest::{Guest, as_root};
use crate::wait::wait_for;

/// The program.
const PROGRAM: &str = include_str!("witness.py");
/// Time for it to be ready.
const START_LIMIT: Duration = Duration::from_mins(1);
/// How far its counter has to get on to be seen counting.
const TICKS: u64 = 20;
/// Time for that.
const TICK_LIMIT: Duration = Duration::from_secs(20);

/// What it says. Asking it changes what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Testimony {
    /// Random, made at its start, only in its memory.
    pub token: String,
    /// How often it was asked, this time included; only in its memory.
    pub asked: u64,
    /// Counts by itself, 100 times a second at most.
    pub ticks: u64,
    /// What is not as it has to be.
    pub wrong: Vec<String>,
    /// 16 bytes of the kernel's randomness.
    pub random: String,
}

impl Testimony {
    /// Checks that this follows `before` with nothing lost or done twice in between.
    ///
    /// # Panics
    /// If it does not.
    #[track_caller]
    pub fn assert_follows(&self, before: &Self) {
        assert_eq!(self.wrong, Vec::<String>::new());
        assert_eq!(self.token, before.token, "another process answers");
        assert_eq!(self.asked, before.asked + 1, "{before:?}, then {self:?}");
        assert!(self.ticks >= before.ticks, "{before:?}, then {self:?}");
        assert_ne!(self.random, before.random);
    }
}

/// Starts it in a guest and gives what it says first.
///
/// # Panics
/// If it does not start, or something is wrong with it from the start.
pub async fn start(guest: &Guest) -> Testimony {
    let request = ExecRequest {
        detach: true,
        timeout_sec: None,
        ..as_root(&["python3", "-c", PROGRAM])
    };
    let started = guest.client().exec_detached(guest.name(), &request).await;
    let started = started.expect("the witness starts");
    wait_for("the witness", START_LIMIT, async || {
        let line = format!(
            "test -p /run/witness/ask || {{ cat {}; false; }}",
            started.output_file
        );
        match guest.try_sh(&line).await {
            Ok(result) if result.exit_code == 0 => Ok(()),
            other => Err(other),
        }
    })
    .await;
    let first = ask(guest).await;
    assert_eq!(first.wrong, Vec::<String>::new());
    first
}

/// Asks it.
///
/// # Panics
/// If it does not answer.
pub async fn ask(guest: &Guest) -> Testimony {
    let told = guest
        .sh("cd /run/witness && echo > ask && cat answer")
        .await;
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}"))
}

/// Asks it until its counter has gone on for a while, and checks each time that nothing was lost.
///
/// # Panics
/// If it was, or the counter stands still.
pub async fn count_on(guest: &Guest, from: &Testimony) -> Testimony {
    let mut last = from.clone();
    wait_for("the counter", TICK_LIMIT, async || {
        let now = ask(guest).await;
        now.assert_follows(&last);
        last = now;
        if last.ticks >= from.ticks + TICKS {
            Ok(last.clone())
        } else {
            Err(last.ticks)
        }
    })
    .await
}
