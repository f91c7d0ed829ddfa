//! Taking up with an agent that stands anywhere in a conversation of another's.

use bhatti_guest::exec::Command;
use bhatti_guest::link::{Greeting, Link};
use bhatti_proto::hello::{self, Kind, Nonce};
use bhatti_proto::message::{Request, Status, request};
use bhatti_proto::mux::MAX_FRAME_BODY;
use bytes::Bytes;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::fixture::{SOON, agent, greeting, serve, shell, wait_for_output};

fn greet(kind: Kind, nonce: u8) -> Bytes {
    hello::Greeting {
        kind,
        version: 1,
        nonce: Nonce([nonce; 16]),
        body: Bytes::new(),
    }
    .encode()
}

/// An old conversation up to its last byte: a handshake, a stream with a request and the first
/// half of a large input.
fn old_conversation() -> Vec<u8> {
    let mut wire = Vec::new();
    let frame = |flags: u16, body: &[u8]| {
        let mut frame = vec![0, 0];
        frame.extend(flags.to_be_bytes());
        frame.extend(1u32.to_be_bytes());
        frame.extend((body.len() as u32).to_be_bytes());
        frame.extend(body);
        frame
    };
    let status = Request::new(request::Op::Status(Status {})).encode_length_delimited_to_vec();
    wire.extend(frame(1, &status));
    wire.extend(frame(0, &vec![0; MAX_FRAME_BODY]));
    wire
}

async fn read_ack(host: &mut UnixStream) {
    let mut scanner = hello::Scanner::default();
    let mut buffer = [0; 1024];
    while scanner.next_greeting().is_none() {
        let read = host.read(&mut buffer).await.unwrap();
        scanner.push(&buffer[..read]);
    }
}

/// Breaks an old conversation off after `cut` bytes and takes up anew on the same stream, as after
/// a restore.
async fn taken_up_after(cut: usize) {
    let (agent, _system) = agent();
    let (mut host, _server) = serve(&agent);
    host.write_all(&greet(Kind::Hello, 1)).await.unwrap();
    read_ack(&mut host).await;
    host.write_all(&greet(Kind::Start, 1)).await.unwrap();
    host.write_all(&old_conversation()[..cut]).await.unwrap();
    let link = Link::open(host, greeting(true)).await.unwrap();
    link.ping(SOON).await.unwrap();
}

#[tokio::test]
async fn an_agent_is_reached_wherever_the_old_conversation_broke_off() {
    let whole = old_conversation().len();
    let request = whole - MAX_FRAME_BODY - 12;
    // Every byte of the headers and the request, and some of the long body.
    let cuts = (0..request + 14).chain([request + 5000, whole - 100, whole - 1, whole]);
    futures::future::join_all(cuts.map(taken_up_after)).await;
}

#[tokio::test]
async fn an_agent_is_reached_in_the_middle_of_a_handshake_of_anothers() {
    let hello = greet(Kind::Hello, 1);
    let cuts = (0..=hello.len()).map(|cut| {
        let hello = hello.clone();
        async move {
            let (agent, _system) = agent();
            let (mut host, _server) = serve(&agent);
            host.write_all(&hello[..cut]).await.unwrap();
            let link = Link::open(host, greeting(true)).await.unwrap();
            link.ping(SOON).await.unwrap();
        }
    });
    futures::future::join_all(cuts).await;
}

#[tokio::test]
async fn hellos_repeated_before_the_start_do_not_break_the_session() {
    let (agent, _system) = agent();
    let (mut host, _server) = serve(&agent);
    let mut wire = Vec::new();
    for part in [
        greet(Kind::Hello, 7),
        hello::resync_padding(),
        greet(Kind::Hello, 7),
        hello::resync_padding(),
        greet(Kind::Hello, 7),
        greet(Kind::Start, 7),
    ] {
        wire.extend(part);
    }
    // A yamux ping, in the same bytes as the START.
    wire.extend([0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]);
    host.write_all(&wire).await.unwrap();
    let mut scanner = hello::Scanner::default();
    let mut buffer = [0; 4096];
    let mut frames = Vec::new();
    while frames.len() < 12 {
        let read = host.read(&mut buffer).await.unwrap();
        if scanner.next_greeting().is_none() && frames.is_empty() {
            scanner.push(&buffer[..read]);
            if scanner.next_greeting().is_some() {
                frames.extend_from_slice(&std::mem::take(&mut scanner).into_rest());
            }
        } else {
            frames.extend_from_slice(&buffer[..read]);
        }
    }
    // One ack, then only yamux: the answer to our ping, and none of the agent's own.
    assert_eq!(frames, [0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9]);
}

#[tokio::test]
async fn an_agent_with_a_full_output_is_reached() {
    let (agent, _system) = agent();
    let (host, _server) = serve(&agent);
    let mut pump = Relay::start(host);
    let link = Link::open(pump.take_near(), greeting(false)).await.unwrap();
    let mut stuck = Vec::new();
    for _ in 0..6 {
        let mut exec = link
            .exec(&Command {
                stdin: true,
                ..shell("echo go; yes")
            })
            .await
            .unwrap();
        wait_for_output(&mut exec, "go").await;
        stuck.push(exec);
    }
    // The daemon's end stops reading for good: the agent's writes back up.
    let far = pump.stop().await;
    drop((link, stuck));
    let link = Link::open(far, greeting(true)).await.unwrap();
    link.ping(SOON).await.unwrap();
    assert_eq!(
        link.status(SOON).await.unwrap().running,
        6,
        "the commands live on"
    );
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_that_waits_answers_a_resync_at_once() {
    let (agent, _system) = agent();
    let (host, _server) = serve(&agent);
    let began = tokio::time::Instant::now();
    let link = Link::open(host, greeting(true)).await.unwrap();
    let took = began.elapsed();
    assert!(
        took < std::time::Duration::from_millis(140),
        "took {took:?}, so it was padded"
    );
    link.ping(SOON).await.unwrap();
}

/// A stream in two halves with a task between, so that the near one can go without the far one.
struct Relay {
    near: Option<UnixStream>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<UnixStream>,
}

impl Relay {
    fn start(mut far: UnixStream) -> Self {
        let (near, mut inner) = UnixStream::pair().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut inner, &mut far) => {}
                _ = stopped => {}
            }
            far
        });
        Self {
            near: Some(near),
            stop: Some(stop),
            task,
        }
    }

    fn take_near(&mut self) -> UnixStream {
        self.near.take().unwrap()
    }

    async fn stop(mut self) -> UnixStream {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap()
    }
}

#[tokio::test]
async fn a_stream_that_leads_nowhere_is_given_up_for_a_new_one() {
    let (agent, _system) = agent();
    let mut dead = Vec::new();
    let mut servers = Vec::new();
    let mut connects = 0;
    let connect = || {
        connects += 1;
        let stream = if connects == 1 {
            let (host, guest) = UnixStream::pair().unwrap();
            dead.push(guest);
            host
        } else {
            let (host, server) = serve(&agent);
            servers.push(server);
            host
        };
        std::future::ready(Ok::<_, std::io::Error>(stream))
    };
    let link = Link::connect(connect, greeting(true)).await.unwrap();
    link.ping(SOON).await.unwrap();
    assert_eq!(connects, 2);
}

#[tokio::test]
async fn an_agent_that_boots_is_waited_for_on_one_stream() {
    let mut connects = 0;
    let mut dead = Vec::new();
    let connect = || {
        connects += 1;
        let (host, guest) = UnixStream::pair().unwrap();
        dead.push(guest);
        std::future::ready(Ok::<_, std::io::Error>(host))
    };
    let greeting = Greeting {
        resync: false,
        limit: std::time::Duration::from_millis(100),
    };
    let error = Link::connect(connect, greeting).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the guest agent did not answer within 100ms"
    );
    assert_eq!(connects, 1);
}

#[tokio::test]
async fn a_guest_that_cannot_be_connected_to_is_said_at_once() {
    let connect = || std::future::ready(Err::<UnixStream, _>(std::io::Error::other("no socket")));
    let error = Link::connect(connect, greeting(true)).await.unwrap_err();
    assert_eq!(error.to_string(), "failed to connect to the guest agent");
}
