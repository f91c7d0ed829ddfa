//! Machines with networks, on a host of the test's own: a network namespace with a way to an
//! "internet", which is another.

use bhatti_api::idle::EditSandbox;
use bhatti_api::sandbox::StartSandbox;
use bhatti_host::command::Command;
use bhatti_net::namespace::Namespace;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;
use bhatti_testing::internet::{ADDRESS as INTERNET, HOST, Internet, serve};

/// A host of the test's own, where the "internet" and the host answer.
async fn host() -> Option<Internet> {
    let internet = Internet::make().await?;
    serve(&internet.namespace().await, 80).await;
    let own = Namespace::current().expect("this thread is in one");
    serve(&own, 80).await;
    Some(internet)
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

    assert_eq!(hears(&one, &INTERNET.to_string(), 80).await, "ok");
    assert_ne!(hears(&one, &HOST.to_string(), 80).await, "ok", "the host");
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
    assert_eq!(hears(&copy, &INTERNET.to_string(), 80).await, "ok");

    // A policy holds at once, and without a daemon too.
    let deny = EditSandbox {
        egress: Some("deny".to_owned()),
        ..EditSandbox::default()
    };
    client
        .sandbox_edit("copy", &deny)
        .await
        .expect("it is changed");
    assert_ne!(
        hears(&copy, &INTERNET.to_string(), 80).await,
        "ok",
        "denied"
    );

    daemon.kill().await;
    daemon.serve(&["--network", "on"]).await;
    assert_eq!(address(&one).await, first);
    assert_eq!(
        hears(&one, &INTERNET.to_string(), 80).await,
        "ok",
        "with another daemon"
    );
    assert_eq!(hears(&one, "two.sb", 7000).await, "ok");
    assert_ne!(
        hears(&copy, &INTERNET.to_string(), 80).await,
        "ok",
        "still denied"
    );

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
