//! Machines with networks, on a host of the test's own: a network namespace with a way to an
//! "internet", which is another.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};

use bhatti_api::idle::EditSandbox;
use bhatti_api::sandbox::StartSandbox;
use bhatti_host::command::Command;
use bhatti_net::namespace::Namespace;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

/// A public address, of the "internet".
const INTERNET: &str = "9.9.9.9";
/// The host's own address.
const HOST: &str = "8.8.8.8";

async fn ip(line: &str) {
    let run = Command::new("ip").args(line.split(' ')).run().await;
    run.unwrap_or_else(|error| panic!("ip {line}: {error}"));
}

/// The namespace that is the internet; gone when it is dropped.
struct Internet(String);

impl Drop for Internet {
    fn drop(&mut self) {
        // It may be gone, and a failed test has said more.
        let _ = Namespace::remove(&self.0);
    }
}

/// Moves this thread, and what it starts, to a host of its own.
async fn host() -> Option<Internet> {
    if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        eprintln!("skipped: needs the right to make a network namespace ({error})");
        return None;
    }
    let name = format!("bhatti-test-{}", std::process::id());
    let made = name.clone();
    let namespace = tokio::task::spawn_blocking(move || Namespace::make(&made)).await;
    let namespace = namespace.expect("it does not panic").expect("a namespace");
    let internet = Internet(name.clone());
    ip("link set lo up").await;
    ip(&format!(
        "link add uplink type veth peer name eth0 netns {name}"
    ))
    .await;
    ip(&format!("addr add {HOST}/24 dev uplink")).await;
    ip("link set uplink up").await;
    ip("route add default via 8.8.8.1").await;
    for line in [
        "link set lo up".to_owned(),
        "addr add 8.8.8.1/24 dev eth0".to_owned(),
        format!("addr add {INTERNET}/32 dev lo"),
        "addr add 169.254.169.254/32 dev lo".to_owned(),
        "link set eth0 up".to_owned(),
    ] {
        ip(&format!("-n {name} {line}")).await;
    }
    serve(&namespace).await;
    serve(&Namespace::current().expect("this thread is in one")).await;
    Some(internet)
}

/// Answers all who connect to port 80 there, until the process ends.
async fn serve(namespace: &Namespace) {
    let bind = || async { Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80))) };
    let listener = namespace.run(bind).await.expect("it is entered");
    let listener = listener.expect("the port is free");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(b"ok");
        }
    });
}

/// What a machine hears from a port: `ok`, or what went wrong.
async fn hears(guest: &Guest, to: &str, port: u16) -> String {
    let line = format!(
        "python3 -c 'import socket; s = socket.create_connection((\"{to}\", {port}), 10); \
         s.settimeout(20); print(s.recv(2).decode())' 2>&1 | tail -1"
    );
    guest.sh(&line).await.trim().to_owned()
}

async fn address(guest: &Guest) -> String {
    guest.view().await.ip
}

#[tokio::test(flavor = "current_thread")]
async fn machines_reach_the_internet_and_each_other_and_keep_their_addresses() {
    let Some(_internet) = host().await else {
        return;
    };
    let mut daemon = Daemon::start_with(&["--network", "on"]).await;
    let one = Guest::create(daemon.client(), "one").await;
    let two = Guest::create(daemon.client(), "two").await;
    let (first, second) = (address(&one).await, address(&two).await);
    assert_eq!(
        (first.as_str(), second.as_str()),
        ("10.83.0.2", "10.83.0.3")
    );
    let card = one
        .sh("ip -4 -o addr show eth0; cat /etc/resolv.conf")
        .await;
    assert!(
        card.contains("10.83.0.2/21") && card.contains("nameserver 10.83.0.1"),
        "{card}"
    );

    assert_eq!(hears(&one, INTERNET, 80).await, "ok");
    assert_ne!(hears(&one, HOST, 80).await, "ok", "the host");
    assert_ne!(
        hears(&one, "169.254.169.254", 80).await,
        "ok",
        "the metadata service"
    );
    two.sh(
        "nohup python3 -c 'import socket\ns = socket.create_server((\"\", 7000))\nwhile True:\n \
         c = s.accept()[0]; c.sendall(b\"ok\")' >/dev/null 2>&1 &",
    )
    .await;
    two.sh("for i in $(seq 100); do ss -ltn 2>/dev/null | grep -q :7000 && exit; sleep 0.1; done; true")
        .await;
    assert_eq!(hears(&one, "two.sb", 7000).await, "ok", "by its name");

    // Asleep and awake again: the same address, and it is reached at once.
    let client = daemon.client();
    client.sandbox_stop("two").await.expect("it sleeps");
    let looked_up = one.sh("getent hosts two.sb").await;
    assert!(looked_up.starts_with(&second), "{looked_up}");
    client
        .sandbox_start("two", &StartSandbox::default())
        .await
        .expect("it wakes");
    assert_eq!(address(&two).await, second);
    assert_eq!(hears(&one, "two.sb", 7000).await, "ok", "after its sleep");

    // A copy is never the original.
    daemon
        .cli(&["fork", "one", "--name", "copy"])
        .await
        .success();
    let copy = Guest::new(daemon.client(), "copy");
    let third = address(&copy).await;
    assert_eq!(third, "10.83.0.4");
    let inside = copy
        .sh("ip -4 -o addr show eth0; cat /sys/class/net/eth0/address")
        .await;
    assert!(
        inside.contains("10.83.0.4/21") && inside.contains("0a:b7:0a:53:00:04"),
        "{inside}"
    );
    assert_eq!(hears(&copy, INTERNET, 80).await, "ok");

    // A policy holds at once, and without a daemon too.
    let deny = EditSandbox {
        egress: Some("deny".to_owned()),
        ..EditSandbox::default()
    };
    client
        .sandbox_edit("copy", &deny)
        .await
        .expect("it is changed");
    assert_ne!(hears(&copy, INTERNET, 80).await, "ok", "denied");

    daemon.kill().await;
    daemon.serve(&["--network", "on"]).await;
    assert_eq!(address(&one).await, first);
    assert_eq!(hears(&one, INTERNET, 80).await, "ok", "with another daemon");
    assert_eq!(hears(&one, "two.sb", 7000).await, "ok");
    assert_ne!(hears(&copy, INTERNET, 80).await, "ok", "still denied");

    // Nothing is left once nobody has a machine.
    for name in ["one", "two", "copy"] {
        daemon
            .client()
            .sandbox_destroy(name)
            .await
            .expect("it is destroyed");
    }
    daemon.stop().await;
    daemon.serve(&["--network", "on"]).await;
    let id = fs_err::read_to_string(daemon.data_dir().join("id")).expect("it has an id");
    let names = Namespace::names().expect("they can be listed");
    let left: Vec<_> = names
        .iter()
        .filter(|name| name.contains(id.trim()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let rules = Command::new("nft").args(["list", "ruleset"]).run().await;
    assert_eq!(rules.expect("there are rules").stdout, b"");
}
