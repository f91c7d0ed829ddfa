//! Many streams on one link.

use std::time::Duration;

use bhatti_guest::exec::{Command, ExitStatus};
use bhatti_guest::link::{CallError, Link, RefusedKind};
use bytes::Bytes;

use crate::fixture::{Guest, Ran, SOON, agent, command, greeting, shell};

#[tokio::test]
async fn a_reader_that_does_not_read_blocks_nobody_else() {
    let guest = Guest::start().await;
    let mut stuck = Vec::new();
    for _ in 0..8 {
        stuck.push(guest.link.exec(&shell("yes")).await.unwrap());
    }
    let mut deaf = guest
        .link
        .exec(&Command {
            stdin: true,
            ..shell("sleep 60")
        })
        .await
        .unwrap();
    let flood = async {
        loop {
            deaf.input.write(Bytes::from(vec![0; 65536])).await.unwrap();
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(300), flood)
            .await
            .is_err()
    );
    for _ in 0..20 {
        assert_eq!(
            guest.shell("head -c 300000 /dev/zero").await.stdout.len(),
            300_000
        );
        guest.link.ping(SOON).await.unwrap();
    }
    guest.agent.stop().await;
}

#[tokio::test]
async fn too_many_commands_are_refused_clearly_and_room_comes_back() {
    let guest = Guest::start().await;
    let mut execs = Vec::new();
    let refused = loop {
        match guest.link.exec(&command(&["sleep", "300"])).await {
            Ok(exec) => execs.push(exec),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            refused,
            CallError::Refused {
                kind: RefusedKind::Busy,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!(execs.len(), 256);
    guest.link.ping(SOON).await.unwrap();
    execs.clear();
    while guest.link.status(SOON).await.unwrap().running > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(guest.shell("exit 6").await.status, ExitStatus::Code(6));
}

#[tokio::test]
async fn thousands_of_calls_one_after_the_other_leave_nothing_behind() {
    let guest = Guest::start().await;
    for _ in 0..3000 {
        guest.link.ping(SOON).await.unwrap();
    }
    let status = guest.link.status(SOON).await.unwrap();
    assert!(status.streams <= 2, "{} streams", status.streams);
}

#[tokio::test]
async fn dropped_calls_leave_the_link_well() {
    let guest = Guest::start().await;
    for _ in 0..500 {
        let ping = guest.link.ping(SOON);
        // Dropped after its first turn, wherever that ends.
        let _ = tokio::time::timeout(Duration::ZERO, ping).await;
    }
    for _ in 0..50 {
        let start = guest
            .link
            .exec(&Command {
                stdin: true,
                ..shell("sleep 300")
            })
            .await
            .map(drop);
        assert!(start.is_ok());
    }
    while guest.link.status(SOON).await.unwrap().running > 0 {
        tokio::task::yield_now().await;
    }
    assert!(
        Ran::of(guest.link.exec(&shell("")).await.unwrap())
            .await
            .stdout
            .is_empty()
    );
}

#[tokio::test]
async fn output_is_not_lost_when_the_future_that_waits_for_it_is_dropped() {
    let guest = Guest::start().await;
    let mut exec = guest
        .link
        .exec(&shell("head -c 3000000 /dev/zero"))
        .await
        .unwrap();
    let mut total = 0;
    loop {
        let next = tokio::time::timeout(Duration::from_micros(50), exec.output.next()).await;
        match next.map(|event| event.unwrap()) {
            Err(_elapsed) => {}
            Ok(Some(bhatti_guest::exec::ExecEvent::Stdout(bytes))) => total += bytes.len(),
            Ok(other) => {
                assert!(matches!(
                    other,
                    Some(bhatti_guest::exec::ExecEvent::Exit(_))
                ));
                break;
            }
        }
    }
    assert_eq!(total, 3_000_000);
}

#[tokio::test]
async fn a_wire_that_holds_almost_nothing_still_carries_much_both_ways() {
    const SIZE: usize = 4 << 20;
    let (agent, _system) = agent();
    let (host, guest) = tokio::io::duplex(100);
    let server = tokio::spawn({
        let agent = agent.clone();
        async move { lohar::session::serve(guest, &agent).await }
    });
    let link = Link::open(host, greeting(false)).await.unwrap();
    let cats = (0..4).map(|_| async {
        let cat = Command {
            stdin: true,
            ..command(&["cat"])
        };
        let mut exec = link.exec(&cat).await.unwrap();
        let writer = async {
            for _ in 0..SIZE / 65536 {
                exec.input.write(Bytes::from(vec![5; 65536])).await.unwrap();
            }
            exec.input.finish().await.unwrap();
        };
        let ((), ran) = tokio::join!(writer, Ran::output(exec.output));
        assert_eq!(ran.stdout.len(), SIZE);
    });
    futures::future::join_all(cats).await;
    drop(link);
    tokio::time::timeout(SOON, server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
