//! The engine on a fake VMM, under random requests, faults and ends of daemon, machine and host.
//!
//! After every step: what was acknowledged is there, or the sandbox says honestly why not; records,
//! processes and directories agree; nothing hangs; nothing went against the fake VMM's own rules
//! (old memory over a newer disk, two machines on one disk, …). At the end of a case every sandbox
//! wakes and every checkpoint resumes, and all of it can be taken away without a rest.
//!
//! A case that fails prints its steps, the shortest that still fail, one a line.

mod batch;
mod crowd;
mod daemon;
mod expect;
mod found;
mod ground;
mod halts;
mod known;
mod op;
mod requests;
mod steps;
mod world;

use proptest::test_runner::{Config, TestCaseError};

use bhatti_engine::fault::Moment;
use bhatti_testing::fake_vmm::fault::{Act, Call};

use crate::op::{Break, Name, Op, Request, Setup};
use crate::world::World;

/// Does it all, and tells the story if something is wrong.
fn run(setup: Setup, ops: &[Op]) -> Result<(), String> {
    let mut world = World::new(setup)?;
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
        run(case.0, &case.1).map_err(TestCaseError::fail)?;
    }
}

/// Cases that once went wrong.
mod before {
    use super::{Act, Break, Call, Moment, Name, Op, Request, Setup, run};
    use crate::op::{After, Snap};
    use crate::world::World;
    use bhatti_types::labels::Labels;

    const A: Name = Name::A;

    #[track_caller]
    fn goes_well(ops: &[Op]) {
        let story = run(Setup::PLAIN, ops).err();
        assert!(story.is_none(), "{}", story.unwrap_or_default());
    }

    #[test]
    fn a_forced_start_that_fails_late_leaves_no_cold_image() {
        goes_well(&[
            Op::One(Request::Create(A)),
            Op::One(Request::Stop(A)),
            Op::Broken(Request::Force(A), None, Break::Step(3, Moment::Before)),
        ]);
    }

    #[test]
    fn no_command_comes_to_a_guest_that_was_not_told_who_it_is() {
        goes_well(&[
            Op::One(Request::Create(A)),
            Op::One(Request::Stop(A)),
            Op::Broken(Request::Read(A), None, Break::Step(5, Moment::After)),
        ]);
    }

    #[test]
    fn a_paused_machine_that_could_not_be_let_run_is_let_run_by_the_next_request() {
        goes_well(&[
            Op::One(Request::Create(A)),
            Op::One(Request::Pause(A)),
            Op::Broken(
                Request::Read(A),
                None,
                Break::Vmm(Call::Resume, 0, Act::Fail),
            ),
            Op::One(Request::Read(A)),
        ]);
    }

    #[test]
    fn a_machine_whose_sleep_was_broken_off_sleeps_when_the_host_goes_down() {
        goes_well(&[
            Op::One(Request::Create(A)),
            Op::Two(Request::Stop(A), After(4, Request::Start(A))),
            Op::GoDown,
        ]);
    }

    #[test]
    fn a_destroy_that_failed_at_its_very_end_can_be_repeated() {
        let mut world = World::new(Setup::PLAIN).unwrap();
        for op in [
            Op::One(Request::Create(A)),
            Op::Broken(Request::Destroy(A), None, Break::Step(3, Moment::After)),
            Op::One(Request::Destroy(A)),
        ] {
            world.apply(op).unwrap();
        }
        let shown = world.with_daemon(async |engine, caller| {
            engine.sandbox_list(caller, &Labels::default()).await
        });
        assert!(shown.unwrap().unwrap().is_empty());
    }

    #[test]
    fn a_rollback_that_was_cut_off_says_why_there_is_no_memory() {
        goes_well(&[
            Op::One(Request::Create(A)),
            Op::One(Request::Checkpoint(A, Snap::S)),
            Op::Killed(
                Request::Rollback(A, Snap::S),
                None,
                Break::Vmm(Call::Launch, 0, Act::Hang),
            ),
        ]);
    }

    #[test]
    fn a_machine_that_stops_by_itself_is_warm_at_once_and_goes_on_when_asked() {
        goes_well(&[
            Op::One(Request::Create(A)),
            Op::One(Request::Remember(A)),
            Op::Halt(A),
            Op::One(Request::Read(A)),
            Op::Halt(A),
            Op::One(Request::Stop(A)),
            Op::One(Request::Read(A)),
            Op::Halt(A),
            Op::KilledIdle,
            Op::One(Request::Read(A)),
        ]);
    }

    #[test]
    fn a_checkpointed_machine_that_could_not_be_let_run_is_let_run_by_the_next_request() {
        goes_well(&[
            Op::One(Request::Create(A)),
            // The second one fails as well: it is the undoing.
            Op::Broken(
                Request::Checkpoint(A, Snap::S),
                None,
                Break::Vmm(Call::Resume, 0, Act::TimeOut),
            ),
            Op::One(Request::Read(A)),
        ]);
    }
}
