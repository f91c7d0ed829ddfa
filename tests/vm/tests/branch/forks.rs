//! Copies of a machine from one instant of it.

use std::collections::BTreeSet;

use bhatti_api::sandbox::{CreateSandbox, ForkSandbox, Sandbox};
use bhatti_api::user::CreateUser;
use bhatti_client::client::Client;
use bhatti_client::error::Error;
use bhatti_client::token::BearerToken;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::{Guest, assert_each_is_its_own};
use bhatti_testing::witness;
use futures::future::join_all;

use crate::refusal::refused;

/// Most memory of its own that a guest takes which was just forked and asked a few things, in
/// bytes. It holds tens of times as much; how much it is exactly depends on what runs in it.
const OWN_MEMORY: u64 = 48 << 20;

/// How the daemon's log tells of a capture.
const STALL: &str = "\"stall_ms\":";

async fn fork(
    client: &Client,
    source: &str,
    name: &str,
    count: u64,
) -> Result<Vec<Sandbox>, Error> {
    let fork = ForkSandbox {
        name: Some(name.to_owned()),
        count: Some(count),
        wait_sec: None,
    };
    client.sandbox_fork(source, &fork).await
}

fn names(sandboxes: &[Sandbox]) -> Vec<&str> {
    sandboxes
        .iter()
        .map(|sandbox| sandbox.name.as_str())
        .collect()
}

/// The sandboxes and checkpoints there are, and what their directories and machines are; the
/// directory for what forks capture is empty.
async fn all(daemon: &Daemon) -> (Vec<String>, usize, usize) {
    let list = daemon.client().sandbox_list(&[]).await;
    let list = list.expect("the list is given");
    let found = daemon.inventory().await;
    assert_eq!(
        found.sandboxes,
        list.iter().map(|sandbox| sandbox.id.clone()).collect()
    );
    let captured = fs_err::read_dir(daemon.data_dir().join("forks"));
    assert_eq!(captured.map_or(0, Iterator::count), 0, "a capture was left");
    let names = list.into_iter().map(|sandbox| sandbox.name).collect();
    (names, found.snapshots.len(), found.machines.len())
}

/// How much of a guest's memory its VMM has for itself, in bytes.
fn own_memory(pid: u32) -> u64 {
    let maps = fs_err::read_to_string(format!("/proc/{pid}/smaps")).expect("the VMM is there");
    let mut own = None;
    let mut is_memory = false;
    for line in maps.lines() {
        // The head of a mapping ends with its file, other lines are `Name: value`.
        match line.split_once(':') {
            Some(("Anonymous", value)) if is_memory => {
                let kib = value.trim().trim_end_matches(" kB");
                let kib: u64 = kib.parse().expect("a number of KiB");
                own = Some(own.unwrap_or(0) + (kib << 10));
            }
            Some((name, _)) if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {}
            _ => is_memory = line.ends_with("/mem"),
        }
    }
    own.expect("the VMM maps the memory file")
}

#[tokio::test]
async fn ten_forks_go_on_from_one_point_diverge_and_share_their_memory() {
    let daemon = Daemon::start().await;
    let client = daemon.client();
    let dev = Guest::create(daemon.client(), "dev").await;
    let captured = witness::start(&dev).await;
    let before = dev.identity().await;

    let made = fork(&client, "dev", "try", 10).await.expect("ten forks");
    let expected: Vec<_> = (1..=10).map(|number| format!("try-{number}")).collect();
    assert_eq!(names(&made), expected);
    let source = dev.view().await;
    for copy in &made {
        assert_eq!(
            (copy.status.as_str(), copy.thermal.as_str()),
            ("running", "hot")
        );
        assert_eq!(copy.forked_from.as_ref(), Some(&source.id));
        assert_eq!(copy.resumed_from, None);
        assert_eq!(
            (copy.cpus, copy.memory_mb, copy.disk_size_mb, &copy.image),
            (
                source.cpus,
                source.memory_mb,
                source.disk_size_mb,
                &source.image
            )
        );
    }
    let log = fs_err::read_to_string(daemon.log()).expect("the log is read");
    let stalls: Vec<&str> = log.split(STALL).skip(1).collect();
    assert_eq!(stalls.len(), 1, "one capture for all");
    let stall: String = stalls[0].chars().take_while(char::is_ascii_digit).collect();

    let ids: BTreeSet<_> = made.iter().map(|copy| copy.id.as_str()).collect();
    let machines = daemon.machines().await;
    let own: Vec<u64> = machines
        .iter()
        .filter(|machine| ids.contains(machine.sandbox.as_str()))
        .map(|machine| own_memory(machine.process.pid))
        .collect();
    assert_eq!((own.len(), machines.len()), (10, 11));
    let most = own.iter().max().copied().unwrap_or_default();
    let together = own.iter().sum::<u64>() >> 20;
    println!("the source stood still for {stall} ms; ten copies have {together} MiB of their own");
    assert!(most < OWN_MEMORY, "{own:?}");

    // All of them and the source go on from the captured point.
    let copies: Vec<_> = expected
        .iter()
        .map(|name| Guest::new(daemon.client(), name))
        .collect();
    let guests = [vec![dev.clone()], copies].concat();
    let told = join_all(guests.iter().map(witness::ask)).await;
    for testimony in &told {
        testimony.assert_follows(&captured);
    }
    witness::count_on(&guests[10], &told[10]).await;

    // From here on each has a memory and a disk of its own.
    join_all(guests.iter().map(async |guest| {
        let name = guest.name();
        let line = format!("echo {name} | tee /dev/shm/owner > /var/tmp/owner; sync");
        guest.sh(&line).await;
    }))
    .await;
    for guest in &guests {
        let name = guest.name();
        let line = "echo 3 > /proc/sys/vm/drop_caches; cat /dev/shm/owner /var/tmp/owner";
        assert_eq!(guest.sh(line).await, format!("{name}\n{name}"));
    }
    let drawn: Vec<_> = told.iter().map(|told| &told.random).collect();
    let identities = assert_each_is_its_own(&guests, &drawn).await;
    assert_eq!(identities[0].machine_id, before.machine_id);
    join_all(guests.iter().map(Guest::check_clock)).await;

    // A name that is taken among many: nothing is captured and nothing made.
    client
        .sandbox_destroy("try-1")
        .await
        .expect("it is destroyed");
    let there = all(&daemon).await;
    let (status, message) = refused(fork(&client, "dev", "try", 2).await);
    assert_eq!(
        (status, message.contains("\"try-2\"")),
        (409, true),
        "{message}"
    );
    assert_eq!(all(&daemon).await, there);
    let log = fs_err::read_to_string(daemon.log()).expect("the log is read");
    assert_eq!(log.matches(STALL).count(), 1, "captured for nothing");
}

#[tokio::test]
async fn a_sleeping_source_is_forked_without_waking_and_what_fails_leaves_nothing() {
    let mut daemon = Daemon::start().await;
    let admin = daemon.client();
    let new = CreateUser {
        name: "alice".to_owned(),
        max_sandboxes: Some(4),
        ..CreateUser::default()
    };
    let alice = admin.user_create(&new).await.expect("a user is made");
    let token = BearerToken::new(&alice.api_key).expect("a token is made");
    let client = Client::new(admin.endpoint().clone(), Some(token));
    let dev = Guest::create(client.clone(), "dev").await;
    let captured = witness::start(&dev).await;
    client.sandbox_stop("dev").await.expect("it stops");

    // Over the limit by one: nothing is made, and all of the limit can be used afterwards.
    let (status, message) = refused(fork(&client, "dev", "over", 4).await);
    assert_eq!((status, message.contains('4')), (429, true), "{message}");
    let copies = fork(&client, "dev", "cold", 2).await.expect("two forks");
    assert_eq!(names(&copies), ["cold-1", "cold-2"]);
    assert_eq!(dev.view().await.thermal, "cold");
    // The original's way to ask for one.
    let new = CreateSandbox {
        name: Some("one".to_owned()),
        from: Some("dev".to_owned()),
        ..CreateSandbox::default()
    };
    let one = client.sandbox_create(&new).await.expect("one fork");
    assert!(!one.existing);
    let again = client.sandbox_create(&new).await.expect("it is there");
    assert_eq!((again.existing, &again.sandbox.id), (true, &one.sandbox.id));
    for name in ["cold-1", "cold-2", "one"] {
        let copy = Guest::new(client.clone(), name);
        witness::ask(&copy).await.assert_follows(&captured);
        client.sandbox_destroy(name).await.expect("it is destroyed");
    }
    assert_eq!(dev.view().await.thermal, "cold");

    // One that is paused stays so as well.
    let before = witness::ask(&dev).await;
    before.assert_follows(&captured);
    client.sandbox_pause("dev").await.expect("it is paused");
    fork(&client, "dev", "warm", 1).await.expect("one fork");
    assert_eq!(dev.view().await.thermal, "warm");
    let copy = Guest::new(client.clone(), "warm");
    witness::ask(&copy).await.assert_follows(&before);
    client
        .sandbox_destroy("warm")
        .await
        .expect("it is destroyed");
    assert_eq!(dev.view().await.thermal, "warm");

    // A copy that can't be made takes the others with it. The source goes on.
    daemon.stop().await;
    daemon
        .serve(&["--fault", "resume:launch-saved:before:fail"])
        .await;
    let asleep = witness::ask(&dev).await;
    asleep.assert_follows(&before);
    let (status, message) = refused(fork(&client, "dev", "try", 3).await);
    assert_eq!(
        (status, message.contains("\"try-")),
        (502, true),
        "{message}"
    );
    let there = client.sandbox_list(&[]).await.expect("the list is given");
    assert_eq!(names(&there), ["dev"]);
    let found = daemon.inventory().await;
    assert_eq!((found.sandboxes.len(), found.machines.len()), (1, 1));
    witness::ask(&dev).await.assert_follows(&asleep);
    let one = fork(&client, "dev", "try", 1).await.expect("one fork");
    assert_eq!(names(&one), ["try"]);
    // What is off has nothing to be forked.
    dev.end().await;
    let (status, message) = refused(fork(&client, "dev", "none", 1).await);
    assert_eq!(status, 409, "{message}");
    let there = client.sandbox_list(&[]).await.expect("the list is given");
    assert_eq!(names(&there), ["dev", "try"]);
}
