//! Random sequences of requests, ends of machines and of daemons, on real guests: the engine's model
//! (`crates/engine/tests/model`) in short, with what a fake VMM can't show.
//!
//! What each guest remembers, in memory and on disk, is reckoned beside it; so are its state, its
//! process and its files, which are compared after every step. At the end every guest is asked and
//! every checkpoint resumed, and all of it is taken away without a rest. A sequence that goes wrong
//! is told with its seed and steps; a test with that seed does the same again.

#![expect(clippy::panic, reason = "helpers of tests fail their test")]
#![expect(clippy::print_stdout, reason = "shown with a test that fails")]

mod numbers;
mod world;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::numbers::Numbers;
use crate::world::World;

/// Steps of one sequence.
const STEPS: usize = 20;

async fn run(seed: u64) {
    println!("seed {seed}");
    let mut numbers = Numbers::new(seed);
    let mut world = World::new().await;
    for _ in 0..STEPS {
        world.step(&mut numbers).await;
    }
    world.end().await;
}

#[tokio::test]
async fn what_a_guest_remembers_is_what_it_was_told() {
    run(1).await;
}

#[tokio::test]
async fn what_a_guest_remembers_is_what_it_was_told_in_another_order() {
    run(2).await;
}

#[tokio::test]
async fn what_a_guest_remembers_is_what_it_was_told_in_an_order_of_today() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = now.expect("the clock is right").subsec_nanos();
    run(u64::from(seed)).await;
}
