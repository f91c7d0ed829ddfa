//! A guest with a network card, in a network namespace of the test's own.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use bhatti_host::command;
use bhatti_testing::bare::{BareMachine, Wanted};
use bhatti_types::mac::Mac;
use bhatti_vmm::machine::{Nic, Tap};

async fn ip(words: &str) {
    let run = command::Command::new("ip")
        .args(words.split(' '))
        .run()
        .await;
    run.expect("the namespace's network is set up");
}

/// The thread this runs on moves into a namespace of its own, and what it starts with it; the
/// namespace ends with the last of them.
#[tokio::test(flavor = "current_thread")]
async fn a_guest_takes_its_address_route_and_name_servers_from_the_command_line() {
    if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        eprintln!("skipped: needs the right to make a network namespace ({error})");
        return;
    }
    ip("link set lo up").await;
    ip("tuntap add dev tap0 mode tap").await;
    ip("addr add 10.77.0.1/24 dev tap0").await;
    ip("link set tap0 up").await;
    // Made before the guest's machine, in this thread's namespace.
    let listener = TcpListener::bind("10.77.0.1:0").expect("the namespace has that address");
    let port = listener.local_addr().expect("it is bound").port();

    let machine = BareMachine::boot(Wanted {
        command_line: vec![
            "bhatti.hostname=net".to_owned(),
            "ip=10.77.0.2::10.77.0.1:255.255.255.0:net:eth0:off:10.77.0.1:9.9.9.9".to_owned(),
        ],
        nic: Some(Nic {
            tap: Tap::Named("tap0".to_owned()),
            mac: Mac::from_octets([2, 0, 0, 0, 0x77, 2]),
        }),
    })
    .await;

    let address = machine
        .sh("ip -o -4 addr show eth0; cat /sys/class/net/eth0/address")
        .await;
    assert!(address.contains("10.77.0.2/24"), "{address}");
    assert!(address.contains("02:00:00:00:77:02"), "{address}");
    let route = machine.sh("ip route show default").await;
    assert!(route.contains("via 10.77.0.1 dev eth0"), "{route}");
    let resolvers = machine.sh("cat /etc/resolv.conf").await;
    assert!(
        resolvers.contains("nameserver 10.77.0.1\nnameserver 9.9.9.9"),
        "{resolvers}"
    );
    let hosts = machine.sh("hostname; getent hosts net localhost").await;
    assert!(
        hosts.starts_with("net\n") && hosts.contains("127.0.1.1"),
        "{hosts}"
    );

    // Bytes both ways over the card.
    let answer = std::thread::spawn(move || {
        let (mut peer, from) = listener.accept().expect("the guest connects");
        let mut heard = [0; 5];
        peer.read_exact(&mut heard).expect("the guest speaks");
        peer.write_all(b"host\n").expect("the guest listens");
        (heard, from.ip().to_string())
    });
    let line = format!(
        "python3 -c 'import socket; s = socket.create_connection((\"10.77.0.1\", {port}), 20); \
         s.sendall(b\"guest\"); print(s.recv(5))'"
    );
    assert_eq!(machine.sh(&line).await, "b'host\\n'");
    let (heard, from) = answer.join().expect("the host's end ends well");
    assert_eq!((&heard, from.as_str()), (b"guest", "10.77.0.2"));
}
