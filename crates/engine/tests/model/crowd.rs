//! Many requests at once for one sandbox that sleeps.

use crate::daemon::{Answer, ask};
use crate::op::{Name, Op, Request, Setup};
use crate::world::World;

/// How many.
const CROWD: usize = 100;

#[test]
fn a_hundred_requests_for_a_cold_machine_are_one_wake_and_a_hundred_answers() {
    let mut world = World::new(Setup::PLAIN).unwrap();
    for request in [
        Request::Create(Name::A),
        Request::Remember(Name::A),
        Request::Stop(Name::A),
    ] {
        world.apply(Op::One(request)).unwrap();
    }
    let before = world.host.launches();
    let answers = world.with_daemon(async |engine, caller| {
        let reads = (0..CROWD).map(|_| ask(engine, caller, Request::Read(Name::A), 0));
        futures::future::join_all(reads).await
    });
    for answer in answers.unwrap() {
        assert!(
            matches!(answer, Ok(Answer::Said { memory: 2, .. })),
            "{answer:?}"
        );
    }
    assert_eq!(world.host.launches() - before, 1);
    world.end().unwrap();
}
