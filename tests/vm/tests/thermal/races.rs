//! Requests that come while a machine goes one way or the other.

use std::collections::BTreeSet;
use std::time::Duration;

use bhatti_api::sandbox::StartSandbox;
use bhatti_testing::daemon::Daemon;
use futures::future::join_all;
use tokio::time::timeout;

use crate::{create, is};

/// No request takes longer, whatever else goes on.
const ANSWER: Duration = Duration::from_mins(2);

#[tokio::test]
async fn a_hundred_requests_to_one_cold_machine_are_one_wake_and_a_hundred_answers() {
    let traces = tempfile::tempdir().expect("there is room");
    let trace = traces.path().join("trace").display().to_string();
    let mut daemon = Daemon::start_with(&["--trace-file", &trace]).await;
    let dev = create(&daemon, "dev", "never", "never").await;
    dev.sh("echo 7 > /dev/shm/word").await;
    daemon
        .client()
        .sandbox_stop("dev")
        .await
        .expect("it sleeps");
    let answers = join_all((0..100).map(async |number| {
        let line = format!("cat /dev/shm/word; echo {number} >> /dev/shm/seen");
        timeout(ANSWER, dev.sh(&line))
            .await
            .expect("it is answered")
    }))
    .await;
    assert!(answers.iter().all(|answer| answer == "7"), "{answers:?}");
    let seen = dev.sh("sort -n /dev/shm/seen | uniq | wc -l").await;
    assert_eq!(seen, "100");
    assert_eq!(daemon.machines().await.len(), 1);
    // The daemon writes the last of its trace as it ends.
    daemon.stop().await;
    let trace = fs_err::read_to_string(&trace).expect("there is a trace");
    let wakes = trace.matches("\"kind\":\"wake\"").count();
    assert_eq!(wakes, 1, "{trace}");
}

#[tokio::test]
async fn a_request_gets_a_machine_back_that_is_on_its_way_to_disk() {
    let daemon = Daemon::start().await;
    let dev = create(&daemon, "dev", "never", "never").await;
    let boot = dev.boot_id().await;
    let (client, mut broken_off) = (daemon.client(), 0);
    for delay in [0, 20, 40, 60, 80, 100, 150, 200, 300] {
        dev.sh(&format!("echo {delay} > /dev/shm/word; dd if=/dev/urandom of=/dev/shm/x bs=1M count=24 2>/dev/null")).await;
        let (slept, answer) = tokio::join!(client.sandbox_stop("dev"), async {
            tokio::time::sleep(Duration::from_millis(delay)).await;
            timeout(ANSWER, dev.sh("cat /dev/shm/word")).await
        });
        assert_eq!(answer.expect("it is answered"), delay.to_string());
        if let Err(error) = slept {
            assert!(
                error.to_string().contains("another request woke it"),
                "{error}"
            );
            broken_off += 1;
        }
        let now = is(&dev, "hot").await;
        assert_eq!(now.reason, None);
        assert_eq!(daemon.machines().await.len(), 1);
    }
    assert!(broken_off > 0, "none was broken off");
    assert_eq!(dev.boot_id().await, boot);
    dev.check_clock().await;
}

#[tokio::test]
async fn requests_of_all_kinds_at_once_each_get_an_answer_and_nothing_is_lost() {
    let daemon = Daemon::start().await;
    let dev = create(&daemon, "dev", "50ms", "50ms").await;
    let boot = dev.boot_id().await;
    let client = daemon.client();
    let written = join_all((0..4_u32).map(async |writer| {
        let mut written = BTreeSet::new();
        for number in 0..6 {
            // Until it says it is there, it need not be.
            let line = format!("echo {writer}-{number} >> /dev/shm/w{writer}; echo said");
            let ran = timeout(ANSWER, dev.try_sh(&line))
                .await
                .expect("it is answered");
            match ran {
                Ok(ran) if ran.stdout == "said\n" => {
                    written.insert(format!("{writer}-{number}"));
                }
                Ok(ran) => panic!("{ran:?}"),
                // Put away by hand under the command.
                Err(error) => assert!(!error.to_string().contains("internal"), "{error}"),
            }
        }
        written
    }));
    let changes = join_all((0..3_u32).map(async |which| {
        for round in 0..5 {
            let said = timeout(ANSWER, async {
                match which {
                    0 => client.sandbox_stop("dev").await.map(drop),
                    1 => client.sandbox_pause("dev").await.map(drop),
                    _ if round == 2 => dev.checkpoint("mid").await.map(drop),
                    _ => client
                        .sandbox_start("dev", &StartSandbox::default())
                        .await
                        .map(drop),
                }
            })
            .await
            .expect("it is answered");
            if let Err(error) = said {
                let error = error.to_string();
                let known = ["another request woke it", "is in use"];
                assert!(known.iter().any(|known| error.contains(known)), "{error}");
            }
        }
    }));
    let (written, _) = tokio::join!(written, changes);
    for (writer, words) in written.iter().enumerate() {
        let there = dev
            .sh(&format!("cat /dev/shm/w{writer} 2>/dev/null || true"))
            .await;
        let there: BTreeSet<_> = there.lines().map(str::to_owned).collect();
        assert!(words.is_subset(&there), "{words:?} {there:?}");
    }
    assert_eq!(dev.boot_id().await, boot, "it never lost its memory");
    client.sandbox_destroy("dev").await.expect("it goes");
    assert_eq!(daemon.machines().await, []);
}
