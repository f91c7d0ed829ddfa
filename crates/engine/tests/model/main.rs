//! The engine on a fake VMM, under random requests, faults and ends of daemon, machine and host.
//!
//! After every step: what was acknowledged is there, or the sandbox says honestly why not; records,
//! processes and directories agree; nothing hangs; nothing went against the fake VMM's own rules
//! (old memory over a newer disk, two machines on one disk, …). At the end of a case every sandbox
//! wakes and every checkpoint resumes, and all of it can be taken away without a rest.
//!
//! A case that fails prints its steps, the shortest that still fail, one a line.

mod batch;
mod daemon;
mod expect;
mod found;
mod known;
mod op;
mod steps;
mod world;

use proptest::test_runner::{Config, TestCaseError};

use crate::op::Op;
use crate::world::World;

/// Does it all, and tells the story if something is wrong.
fn run(ops: &[Op]) -> Result<(), String> {
    let mut world = World::new()?;
    let done = ops
        .iter()
        .try_for_each(|op| world.apply(*op))
        .and_then(|()| world.end());
    done.map_err(|wrong| {
        let mut told = world.story.join("\n");
        told.push_str("\n    ");
        told.push_str(&wrong);
        told
    })
}

proptest::proptest! {
    #![proptest_config(Config { max_shrink_iters: 2000, ..Config::default() })]

    #[test]
    fn whatever_is_asked_and_whatever_breaks_nothing_acknowledged_is_lost(
        case in op::case(40)
    ) {
        run(&case.0).map_err(TestCaseError::fail)?;
    }
}
