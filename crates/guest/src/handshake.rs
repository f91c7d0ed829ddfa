//! The daemon's side of the handshake.
//!
//! Sending and reading go on side by side: an agent with a full output buffer has to be read
//! from before it can read. What is being sent when the ack comes is sent to its end, so that
//! START is never taken for the tail of something else.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bhatti_proto::hello::{self, Kind, Nonce, Scanner};
use bhatti_proto::message::AgentHello;
use bhatti_proto::version;
use bytes::{Buf as _, Bytes};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use crate::agent::AgentInfo;
use crate::error::{LinkError, printable};
use crate::link::Greeting;

/// Pauses before each padded hello. The first is longer than a waiting agent takes to answer, the
/// last is for a guest that has just been restored and translates its code anew.
const RESYNC_PAUSES: [Duration; 6] = [
    Duration::from_millis(150),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// How much is read at once. What comes before the ack is thrown away.
const READ_SIZE: usize = 8 * 1024;

/// Greets the agent; the next byte either way is the first of yamux.
pub(crate) async fn greet<S>(stream: &mut S, greeting: Greeting) -> Result<AgentInfo, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match timeout(greeting.limit, exchange(stream, greeting.resync)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(LinkError::Silent {
            limit: greeting.limit,
        }),
    }
}

async fn exchange<S>(stream: &mut S, resync: bool) -> Result<AgentInfo, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let nonce = Nonce::random().map_err(|error| io_error(io::Error::other(error)))?;
    let say = |kind| {
        let greeting = hello::Greeting {
            kind,
            version: version::PROTOCOL,
            nonce,
            body: Bytes::new(),
        };
        greeting.encode()
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut outbox = VecDeque::from([say(Kind::Hello)]);
    let mut pauses = RESYNC_PAUSES
        .iter()
        .take(if resync { RESYNC_PAUSES.len() } else { 0 });
    let mut next_round = pauses.next().map(|pause| Instant::now() + *pause);
    let mut scanner = Scanner::default();
    let mut buffer = vec![0; READ_SIZE];
    let ack = loop {
        let idle = outbox.is_empty();
        tokio::select! {
            read = reader.read(&mut buffer) => {
                match read.map_err(io_error)? {
                    0 => return Err(LinkError::Gone),
                    read => scanner.push(&buffer[..read]),
                }
                if let Some(ack) = ack_of(&mut scanner, nonce) {
                    break ack;
                }
            }
            written = send_some(&mut writer, &mut outbox), if !idle => written.map_err(io_error)?,
            () = sleep_until(next_round.unwrap_or_else(Instant::now)), if idle && next_round.is_some() => {
                outbox.extend([hello::resync_padding(), say(Kind::Hello)]);
                next_round = pauses.next().map(|pause| Instant::now() + *pause);
            }
        }
    };
    let info = agent_info(&ack)?;
    outbox.push_back(say(Kind::Start));
    while !outbox.is_empty() {
        send_some(&mut writer, &mut outbox)
            .await
            .map_err(io_error)?;
    }
    writer.flush().await.map_err(io_error)?;
    if !scanner.into_rest().is_empty() {
        return Err(misbehaved("spoke before its turn"));
    }
    Ok(info)
}

/// Writes once. Cancel-safe, as a single write is.
async fn send_some<W>(writer: &mut W, outbox: &mut VecDeque<Bytes>) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let Some(front) = outbox.front_mut() else {
        return Ok(());
    };
    let written = writer.write(front).await?;
    if written == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    front.advance(written);
    if front.is_empty() {
        outbox.pop_front();
    }
    Ok(())
}

/// The ack with our nonce. Greetings of earlier handshakes may still come out of the pipe.
fn ack_of(scanner: &mut Scanner, nonce: Nonce) -> Option<hello::Greeting> {
    std::iter::from_fn(|| scanner.next_greeting())
        .find(|greeting| greeting.kind == Kind::Ack && greeting.nonce == nonce)
}

fn agent_info(ack: &hello::Greeting) -> Result<AgentInfo, LinkError> {
    if !version::is_spoken(ack.version) {
        return Err(LinkError::Version {
            theirs: ack.version,
            ours: version::PROTOCOL,
        });
    }
    let said = AgentHello::decode(ack.body.clone())
        .map_err(|_| misbehaved("introduced itself with bytes that do not decode"))?;
    Ok(AgentInfo {
        protocol: ack.version,
        version: printable(&said.version),
        kernel: printable(&said.kernel),
        boot_id: printable(&said.boot_id),
        init: printable(&said.init),
    })
}

fn io_error(source: io::Error) -> LinkError {
    LinkError::Io { source }
}

fn misbehaved(what: &str) -> LinkError {
    LinkError::Misbehaved {
        what: what.to_owned(),
    }
}
