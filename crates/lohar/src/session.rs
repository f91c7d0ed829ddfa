//! The guest's end of the link: handshake, then yamux, then again.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

use bhatti_proto::hello::{Greeting, Kind, Nonce, Scanner};
use bhatti_proto::mux::{self, Watched};
use bhatti_proto::version::PROTOCOL;
use bytes::Bytes;
use futures::io::AsyncWriteExt as _;
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use yamux::{Connection, Mode};

use crate::agent::Agent;
use crate::buffered::Buffered;
use crate::{operation, probe};

/// Serves one byte stream until it ends.
///
/// Garbage, a broken session and a new daemon all lead back to waiting for a greeting. Commands
/// that run live on when the session that started them is lost, and when this future is dropped;
/// [`Agent::stop`] ends them.
pub async fn serve<T>(io: T, agent: &Agent) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut io = Buffered::new(io);
    while accept(&mut io, agent).await? == Accepted::Yes {
        run(&mut io, agent).await;
        io.forget_output();
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Accepted {
    Yes,
    EndOfStream,
}

/// Waits for a daemon that greets, and for its START.
///
/// A hello that was answered before is swallowed: the daemon sends several when it is in doubt,
/// and a second answer would fall into its yamux. One of another handshake begins anew.
async fn accept<T>(io: &mut Buffered<T>, agent: &Agent) -> io::Result<Accepted>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut scanner = Scanner::default();
    let mut answered: Option<Nonce> = None;
    loop {
        let bytes = io.fill().await?;
        if bytes.is_empty() {
            return Ok(Accepted::EndOfStream);
        }
        scanner.push(bytes);
        let mut taken = bytes.len();
        let mut ack = None;
        while let Some(greeting) = scanner.next_greeting() {
            match greeting.kind {
                Kind::Hello if answered != Some(greeting.nonce) => {
                    answered = Some(greeting.nonce);
                    ack = Some(greeting.nonce);
                }
                Kind::Start if answered == Some(greeting.nonce) => {
                    // The end of START came with these bytes, so what is after it is of them too.
                    taken -= scanner.into_rest().len();
                    io.consume(taken);
                    return Ok(Accepted::Yes);
                }
                Kind::Hello | Kind::Start | Kind::Ack => {}
            }
        }
        io.consume(taken);
        if let Some(nonce) = ack {
            io.write_all(&acknowledge(nonce, agent)).await?;
            io.flush().await?;
        }
    }
}

fn acknowledge(nonce: Nonce, agent: &Agent) -> Bytes {
    let greeting = Greeting {
        kind: Kind::Ack,
        version: PROTOCOL,
        nonce,
        body: agent.hello().encode_to_vec().into(),
    };
    greeting.encode()
}

/// Runs yamux until the session is lost, for whatever reason: the daemon is gone, or greets anew,
/// or sends garbage.
async fn run<T>(io: &mut Buffered<T>, agent: &Agent)
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (io, observer) = Watched::new(io);
    let mut connection = Connection::new(io, mux::config(), Mode::Server);
    let (probe, mut answers) = probe::channel();
    poll_fn(|cx| {
        loop {
            let polled = connection.poll_next_inbound(cx);
            if observer.observations().breach.is_some() {
                return Poll::Ready(());
            }
            match polled {
                Poll::Ready(Some(Ok(stream))) => operation::start(agent, stream, probe.clone()),
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => {
                    answers.poll(cx);
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
}
