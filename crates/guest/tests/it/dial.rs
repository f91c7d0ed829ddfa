//! Connections to services "in the guest": this process has them.

use std::time::Duration;

use bhatti_guest::link::{CallError, RefusedKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::fixture::{Guest, SOON};

async fn service() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Takes the one connection that comes.
async fn taken(listener: &TcpListener) -> TcpStream {
    timeout(SOON, listener.accept()).await.unwrap().unwrap().0
}

#[tokio::test]
async fn each_direction_of_a_connection_ends_for_itself() {
    let guest = Guest::start().await;
    let (listener, port) = service().await;
    let mut connection = guest.link.dial(port).await.unwrap();
    let mut served = taken(&listener).await;
    // The service speaks first, as mail and shell servers do.
    served.write_all(b"hello\n").await.unwrap();
    let mut greeting = [0; 6];
    connection.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"hello\n");

    connection.write_all(b"question").await.unwrap();
    connection.shutdown().await.unwrap();
    let mut question = String::new();
    served.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    served.write_all(b"answer").await.unwrap();
    drop(served);
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
}

#[tokio::test]
async fn much_more_than_any_buffer_goes_through_both_ways_at_once() {
    const LEN: usize = 8 << 20;
    let guest = Guest::start().await;
    let (listener, port) = service().await;
    let connection = guest.link.dial(port).await.unwrap();
    let mut served = taken(&listener).await;
    let echo = tokio::spawn(async move {
        let (mut from, mut to) = served.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap()
    });
    let sent: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
    let (mut from, mut to) = tokio::io::split(connection);
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    let reading = timeout(Duration::from_mins(2), from.read_to_end(&mut got));
    reading.await.unwrap().unwrap();
    sending.await.unwrap();
    assert!(got == expected, "{} of {LEN} bytes came back", got.len());
    assert_eq!(echo.await.unwrap(), LEN as u64);
}

#[tokio::test]
async fn a_connection_that_is_dropped_is_dropped_in_the_guest() {
    let guest = Guest::start().await;
    let (listener, port) = service().await;
    let connection = guest.link.dial(port).await.unwrap();
    let mut served = taken(&listener).await;
    drop(connection);
    let mut rest = [0; 1];
    // An end or a reset.
    let read = timeout(SOON, served.read(&mut rest)).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn a_port_that_nothing_listens_on_is_refused_as_that() {
    let guest = Guest::start().await;
    let (listener, port) = service().await;
    drop(listener);
    for (port, kind) in [(port, RefusedKind::NotListening), (0, RefusedKind::Invalid)] {
        match guest.link.dial(port).await {
            Err(CallError::Refused { kind: found, .. }) => assert_eq!(found, kind),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_listens_is_told() {
    let guest = Guest::start().await;
    let (_listener, port) = service().await;
    let found = guest.link.ports(SOON).await.unwrap();
    let found = found.iter().find(|found| found.port == port).unwrap();
    assert!(found.address.is_loopback());
}
