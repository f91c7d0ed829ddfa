//! Many machines on one host.

use std::time::Instant;

use bhatti_api::sandbox::CreateSandbox;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use futures::stream::{self, StreamExt as _};

/// Machines that idle, and those among them that work.
const MACHINES: usize = 40;
const BUSY: usize = 5;
/// Machines that sleep.
const SLEEPING: usize = 300;

async fn make(daemon: &Daemon, name: String) -> Guest {
    let new = CreateSandbox {
        name: Some(name.clone()),
        memory_mb: Some(256),
        idle_pause: Some("never".to_owned()),
        ..CreateSandbox::default()
    };
    let made = daemon.client().sandbox_create(&new).await;
    made.unwrap_or_else(|error| panic!("{name}: {error}"));
    Guest::new(daemon.client(), &name)
}

/// Memory of a process that is its own alone, in KiB (`Private_Dirty` of `smaps_rollup`).
fn own_kib(pid: u32) -> u64 {
    let text = fs_err::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("it runs");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Private_Dirty:"));
    let line = line.expect("the kernel tells of it").trim();
    line.trim_end_matches(" kB")
        .parse()
        .expect("it is a number")
}

#[tokio::test]
async fn forty_machines_of_one_template_share_their_memory_and_three_hundred_sleep() {
    let mut daemon = Daemon::start().await;
    let guests: Vec<_> =
        stream::iter((0..MACHINES).map(|number| make(&daemon, format!("m{number}"))))
            .buffer_unordered(4)
            .collect()
            .await;
    for guest in &guests[..BUSY] {
        guest
            .sh("nohup sh -c 'while :; do sha256sum /bin/* >/dev/null 2>&1; sleep 1; done' >/dev/null 2>&1 &")
            .await;
    }
    let mut own: Vec<_> = daemon
        .machines()
        .await
        .iter()
        .map(|machine| own_kib(machine.process.pid))
        .collect();
    own.sort_unstable();
    assert_eq!(own.len(), MACHINES);
    let (median, total) = (own[MACHINES / 2], own.iter().sum::<u64>());
    println!(
        "{MACHINES} machines, {BUSY} busy: own memory of one {median} KiB in the middle, {total} KiB in all"
    );
    // What QEMU and its translated code take is in it; the guest's own pages are a part of it.
    assert!(total < 40 * 256 * 1024 / 2, "{own:?}");

    // A few are awake; the others sleep, as do copies of one.
    let client = daemon.client();
    stream::iter(&guests)
        .for_each_concurrent(4, async |guest| {
            client.sandbox_stop(guest.name()).await.expect("it sleeps");
        })
        .await;
    stream::iter(MACHINES..SLEEPING)
        .for_each_concurrent(4, async |number| {
            let guest = make(&daemon, format!("m{number}")).await;
            client.sandbox_stop(guest.name()).await.expect("it sleeps");
        })
        .await;
    assert_eq!(daemon.machines().await, []);
    daemon.stop().await;
    let began = Instant::now();
    daemon.serve(&[]).await;
    println!(
        "a daemon with {SLEEPING} sleeping machines answers after {:?}",
        began.elapsed()
    );
    let began = Instant::now();
    let listed = daemon
        .client()
        .sandbox_list(&[])
        .await
        .expect("they are listed");
    println!("they are listed in {:?}", began.elapsed());
    assert_eq!(listed.len(), SLEEPING);
    assert!(listed.iter().all(|sandbox| sandbox.thermal == "cold"));
    for number in [0, 41, 299] {
        let guest = Guest::new(daemon.client(), &format!("m{number}"));
        assert_eq!(guest.sh("hostname").await, format!("m{number}"));
    }
    assert_eq!(daemon.machines().await.len(), 3);
}
