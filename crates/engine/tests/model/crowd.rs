//! Many requests at once for one sandbox that sleeps, and such that wait too long.

use bhatti_engine::error::Error;
use bhatti_testing::fake_vmm::fault::{Act, Call};

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

#[test]
fn who_waits_too_long_for_a_wake_is_told_to_ask_again_and_the_wake_goes_on() {
    let mut world = World::new(Setup::PLAIN).unwrap();
    for request in [
        Request::Create(Name::A),
        Request::Remember(Name::A),
        Request::Stop(Name::A),
    ] {
        world.apply(Op::One(request)).unwrap();
    }
    let before = world.host.launches();
    // Each comes back after a while; together they take longer than a request waits.
    for call in [Call::Launch, Call::Resume] {
        world.host.faults().plan(call, 0, Act::Hang);
    }
    let answers = world.with_daemon(async |engine, caller| {
        let read = || ask(engine, caller, Request::Read(Name::A), 0);
        (read().await, read().await)
    });
    let (first, second) = answers.unwrap();
    let Err(Error::Busy {
        message,
        retry_after,
    }) = first
    else {
        panic!("{first:?}");
    };
    assert!(message.contains("did not wake in 60 s"), "{message}");
    assert!(!retry_after.is_zero());
    assert!(
        matches!(second, Ok(Answer::Said { memory: 2, .. })),
        "{second:?}"
    );
    assert_eq!(world.host.launches() - before, 1);
    world.end().unwrap();
}
