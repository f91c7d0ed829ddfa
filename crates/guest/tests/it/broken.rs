//! Guests that misbehave: they end their own link, with a clear reason, and nothing else.

use std::time::Duration;

use bhatti_guest::link::{CallError, Greeting, Link, LinkError};
use bhatti_proto::hello::{Greeting as Wire, Kind, Scanner};
use bhatti_proto::message::AgentHello;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::fixture::{SOON, greeting};

/// The agent's part of the handshake, up to START.
async fn shake_hands(guest: &mut UnixStream, version: u32) {
    let mut scanner = Scanner::default();
    let mut buffer = [0; 1024];
    loop {
        let read = guest.read(&mut buffer).await.unwrap();
        if read == 0 {
            return;
        }
        scanner.push(&buffer[..read]);
        while let Some(hello) = scanner.next_greeting() {
            if hello.kind == Kind::Start {
                return;
            }
            let body = AgentHello {
                version: "0.0.9".into(),
                ..AgentHello::default()
            };
            let ack = Wire {
                kind: Kind::Ack,
                version,
                body: body.encode_to_vec().into(),
                ..hello
            };
            guest.write_all(&ack.encode()).await.unwrap();
        }
    }
}

async fn opened_by(version: u32) -> (Result<Link, LinkError>, UnixStream) {
    let (host, mut guest) = UnixStream::pair().unwrap();
    let (opened, ()) = tokio::join!(
        Link::open(host, greeting(false)),
        shake_hands(&mut guest, version)
    );
    (opened, guest)
}

pub(crate) async fn linked() -> (Link, UnixStream) {
    let (opened, guest) = opened_by(1).await;
    (opened.unwrap(), guest)
}

pub(crate) fn frame(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut wire = vec![0, kind];
    wire.extend(flags.to_be_bytes());
    wire.extend(stream.to_be_bytes());
    wire.extend(length.to_be_bytes());
    wire
}

/// What the link ends with after the guest sent these bytes.
async fn ended_by(bytes: &[u8]) -> String {
    let (link, mut guest) = linked().await;
    guest.write_all(bytes).await.unwrap();
    let reason = tokio::time::timeout(SOON, link.closed())
        .await
        .expect("the link ends");
    assert!(!link.is_open());
    let error = link.ping(SOON).await.unwrap_err();
    assert!(matches!(error, CallError::Link { .. }), "{error}");
    reason.to_string()
}

const RULES: &str = "the guest broke the rules of the agent link: it ";

#[tokio::test]
async fn garbage_ends_the_link() {
    let reason = ended_by(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(reason, format!("{RULES}sent bytes that are no yamux frame"));
}

#[tokio::test]
async fn a_giant_frame_ends_the_link_before_it_is_taken_in() {
    let reason = ended_by(&frame(0, 0, 1, u32::MAX)).await;
    assert_eq!(
        reason,
        format!("{RULES}sent a frame of 4294967295 bytes, over the limit of 16384")
    );
}

#[tokio::test]
async fn a_stream_opened_by_the_guest_ends_the_link() {
    const SYN: u16 = 1;
    let reason = ended_by(&frame(0, SYN, 2, 0)).await;
    assert_eq!(reason, format!("{RULES}opened a stream to the host"));
}

#[tokio::test]
async fn an_orderly_goodbye_ends_the_link_in_order() {
    let reason = ended_by(&frame(3, 0, 0, 0)).await;
    assert_eq!(reason, "the guest's end of the agent link is closed");
}

#[tokio::test]
async fn a_complaint_of_the_guests_ends_the_link() {
    let reason = ended_by(&frame(3, 0, 0, 1)).await;
    assert_eq!(reason, format!("{RULES}left the link (code 1)"));
}

#[tokio::test]
async fn more_than_the_window_allows_ends_the_link() {
    let (link, mut guest) = linked().await;
    let flood = async {
        // The ping has stream 1; its window is 256 KiB.
        for _ in 0..20 {
            let mut wire = frame(0, 0, 1, 16384);
            wire.resize(wire.len() + 16384, 0x80);
            if guest.write_all(&wire).await.is_err() {
                break;
            }
        }
        guest
    };
    let (error, _guest) = tokio::join!(link.ping(SOON), flood);
    assert!(matches!(error, Err(CallError::Link { .. })), "{error:?}");
    let reason = tokio::time::timeout(SOON, link.closed())
        .await
        .unwrap()
        .to_string();
    assert!(reason.starts_with(RULES), "{reason}");
}

#[tokio::test]
async fn a_message_of_giant_length_ends_the_link() {
    let (link, mut guest) = linked().await;
    let answer = async {
        let mut wire = frame(0, 0, 1, 5);
        wire.extend([0xff, 0xff, 0xff, 0xff, 0x0f]);
        guest.write_all(&wire).await.unwrap();
        guest
    };
    let (error, _guest) = tokio::join!(link.ping(SOON), answer);
    assert!(matches!(error, Err(CallError::Link { .. })), "{error:?}");
    let reason = link.closed().await.to_string();
    assert_eq!(reason, format!("{RULES}sent a message that is too long"));
}

#[tokio::test]
async fn an_answer_to_another_question_ends_only_the_call() {
    use bhatti_proto::message::{Detached, Reply, reply};
    let (link, mut guest) = linked().await;
    let answer = async {
        let detached = Detached {
            pid: 1,
            output_file: String::new(),
        };
        let body = Reply::new(reply::Op::Detached(detached)).encode_length_delimited_to_vec();
        let mut wire = frame(0, 0, 1, body.len() as u32);
        wire.extend(body);
        guest.write_all(&wire).await.unwrap();
        guest
    };
    let (error, _guest) = tokio::join!(link.ping(SOON), answer);
    assert!(
        matches!(error, Err(CallError::Protocol { .. })),
        "{error:?}"
    );
    assert!(link.is_open());
}

#[tokio::test]
async fn a_stream_reset_by_the_guest_ends_only_the_call() {
    const RST: u16 = 8;
    let (link, mut guest) = linked().await;
    let answer = async {
        // Only after the request is there; a reset before that is of no stream.
        let mut seen = [0; 12];
        guest.read_exact(&mut seen).await.unwrap();
        guest.write_all(&frame(0, RST, 1, 0)).await.unwrap();
        guest
    };
    let (error, _guest) = tokio::join!(link.ping(SOON), answer);
    assert!(
        matches!(error, Err(CallError::Protocol { .. })),
        "{error:?}"
    );
    assert!(link.is_open());
}

#[tokio::test]
async fn silence_is_a_time_out_of_the_call_and_the_link_goes_on() {
    let (link, _guest) = linked().await;
    let limit = Duration::from_millis(100);
    let error = link.ping(limit).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the guest agent did not answer within 100ms"
    );
    assert!(link.is_open());
}

#[tokio::test]
async fn a_guest_that_reads_nothing_holds_no_caller_for_ever() {
    let (link, _guest) = linked().await;
    let calls = (0..300).map(|_| link.ping(Duration::from_millis(200)));
    let results = tokio::time::timeout(SOON, futures::future::join_all(calls))
        .await
        .unwrap();
    assert!(results.iter().all(Result::is_err));
}

#[tokio::test]
async fn a_guest_that_ends_is_gone() {
    let (link, guest) = linked().await;
    drop(guest);
    let reason = tokio::time::timeout(SOON, link.closed()).await.unwrap();
    assert!(
        matches!(*reason, LinkError::Gone | LinkError::Io { .. }),
        "{reason}"
    );
}

#[tokio::test]
async fn nobody_there_is_said_after_the_limit() {
    let (host, _guest) = UnixStream::pair().unwrap();
    let limit = Duration::from_millis(100);
    for resync in [false, true] {
        let (host, _guest) = if resync {
            UnixStream::pair().unwrap()
        } else {
            continue;
        };
        let error = Link::open(host, Greeting { resync, limit })
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the guest agent did not answer within 100ms"
        );
    }
    let error = Link::open(
        host,
        Greeting {
            resync: false,
            limit,
        },
    )
    .await
    .unwrap_err();
    assert!(matches!(error, LinkError::Silent { .. }));
}

#[tokio::test]
async fn noise_in_place_of_an_answer_is_silence() {
    let (host, mut guest) = UnixStream::pair().unwrap();
    let noise = tokio::spawn(async move {
        let mut state = 1u32;
        loop {
            let bytes: Vec<u8> = (0..4096)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            if guest.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let limit = Duration::from_millis(300);
    let error = Link::open(
        host,
        Greeting {
            resync: true,
            limit,
        },
    )
    .await
    .unwrap_err();
    assert!(matches!(error, LinkError::Silent { .. }), "{error}");
    noise.await.unwrap();
}

#[tokio::test]
async fn an_agent_of_a_version_that_is_not_spoken_is_named() {
    for version in [0, 2, u32::MAX] {
        let (opened, _guest) = opened_by(version).await;
        let error = opened.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the guest agent speaks protocol {version}, this daemon speaks 1")
        );
    }
}
