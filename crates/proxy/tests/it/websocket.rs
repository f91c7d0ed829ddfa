//! Connections that change their protocol.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{Running, head, service, taken, until_end};

const ASK: &[u8] = b"GET /chat HTTP/1.1\r\nHost: web.localhost\r\nConnection: Upgrade\r\n\
                     Upgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n\r\n";
const CHANGED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                         Upgrade: websocket\r\n\r\n";

async fn say(from: &mut TcpStream, to: &mut TcpStream, text: &str) {
    from.write_all(text.as_bytes()).await.unwrap();
    let mut heard = vec![0; text.len()];
    to.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, text.as_bytes());
}

/// Asks for a WebSocket and has it.
async fn opened(proxy: &Running, listener: &tokio::net::TcpListener) -> (TcpStream, TcpStream) {
    let mut client = proxy.connect().await;
    client.write_all(ASK).await.unwrap();
    let mut served = taken(listener).await;
    let asked = head(&mut served).await.to_ascii_lowercase();
    assert!(asked.contains("\r\nupgrade: websocket\r\n"), "{asked}");
    assert!(asked.contains("\r\nconnection: upgrade\r\n"), "{asked}");
    served.write_all(CHANGED).await.unwrap();
    let answer = head(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    (client, served)
}

#[tokio::test]
async fn a_websocket_carries_both_ways_and_keeps_the_machine_awake_until_it_ends() {
    let (proxy, listener) = Running::with_web().await;
    let (mut client, mut served) = opened(&proxy, &listener).await;
    say(&mut client, &mut served, "to the service").await;
    say(&mut served, &mut client, "to the client").await;
    proxy.leases(1).await;
    client.shutdown().await.unwrap();
    assert_eq!(until_end(&mut served).await, "");
    // Its other half still works.
    say(&mut served, &mut client, "last words").await;
    drop(served);
    assert_eq!(until_end(&mut client).await, "");
    proxy.leases(0).await;
    proxy.stop().await;
}

#[tokio::test]
async fn an_idle_websocket_lets_the_machine_go_and_wakes_it_for_its_next_bytes() {
    let proxy = Running::start().await;
    let (listener, address) = service().await;
    proxy.sites.publish("web", address, |site| {
        site.ws_idle = Some(Duration::from_millis(50));
    });
    let (mut client, mut served) = opened(&proxy, &listener).await;
    say(&mut client, &mut served, "hello").await;
    for round in 0..3 {
        proxy.leases(0).await;
        let before = proxy.sites.wakes.load(Ordering::SeqCst);
        proxy.sites.asleep.store(true, Ordering::SeqCst);
        client.write_all(b"ping").await.unwrap();
        let mut early = [0; 4];
        let heard = tokio::time::timeout(Duration::from_millis(50), served.read(&mut early)).await;
        assert!(heard.is_err(), "round {round}: the machine slept");
        proxy.sites.let_wake();
        served.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"ping");
        assert_eq!(proxy.sites.wakes.load(Ordering::SeqCst), before + 1);
    }
    drop((client, served));
    proxy.leases(0).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_service_that_changes_the_protocol_unasked_is_not_followed() {
    let (proxy, listener) = Running::with_web().await;
    let ask = "GET / HTTP/1.1\r\nHost: web.localhost\r\nConnection: close\r\n\r\n";
    let serve = async {
        let mut stream = taken(&listener).await;
        let _head = head(&mut stream).await;
        stream.write_all(CHANGED).await.unwrap();
        until_end(&mut stream).await
    };
    let (answer, heard) = tokio::join!(proxy.talk(ask), serve);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(heard, "");
    proxy.stop().await;
}
