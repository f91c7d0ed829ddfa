//! Asks the resolvers outside.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Time for one resolver to answer; a guest's own library gives up after five seconds.
const LIMIT: Duration = Duration::from_secs(2);
/// Most resolvers that are asked, one after the other.
const TRIES: usize = 2;
/// How long the host's list of resolvers is believed.
const FRESH: Duration = Duration::from_secs(5);
/// Longest list of resolvers that is read, in bytes.
const LIST_MAX: u64 = 64 * 1024;
/// Longest answer: what a TCP message's length can say.
const ANSWER_MAX: usize = u16::MAX as usize;

/// How a question came, and so how it is passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// The resolvers outside.
#[derive(Debug)]
pub(crate) struct Upstreams {
    /// As set; if empty, the host's own are used.
    set: Vec<SocketAddr>,
    found: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Upstreams {
    pub(crate) fn new(set: Vec<SocketAddr>) -> Self {
        Self {
            set,
            found: Mutex::default(),
        }
    }

    /// Those to be asked now.
    async fn now(&self) -> Vec<SocketAddr> {
        if !self.set.is_empty() {
            return self.set.clone();
        }
        {
            let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, found)) = &*found
                && at.elapsed() < FRESH
            {
                return found.clone();
            }
        }
        let list = tokio::fs::File::open("/etc/resolv.conf").await;
        let mut text = String::new();
        if let Ok(list) = list {
            // What can't be read names no resolver.
            let _ = list.take(LIST_MAX).read_to_string(&mut text).await;
        }
        let servers = servers(&text);
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        *found = Some((Instant::now(), servers.clone()));
        servers
    }

    /// Asks them, one after the other, and gives the first answer. `None` if none answers.
    pub(crate) async fn ask(&self, question: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let asked = Message::from_vec(question).ok()?;
        // One that only whoever is asked learns of.
        let mut id = [0u8; 2];
        getrandom::fill(&mut id).ok()?;
        let mut outside = question.to_vec();
        outside.get_mut(..2)?.copy_from_slice(&id);
        for server in self.now().await.into_iter().take(TRIES) {
            let exchange = async {
                match transport {
                    Transport::Udp => by_udp(server, &outside, &asked, id).await,
                    Transport::Tcp => by_tcp(server, &outside, &asked, id).await,
                }
            };
            match timeout(LIMIT, exchange).await {
                Ok(Ok(mut answer)) => {
                    answer.get_mut(..2)?.copy_from_slice(question.get(..2)?);
                    return Some(answer);
                }
                Ok(Err(error)) => tracing::debug!(%server, %error, "a resolver failed"),
                Err(_) => tracing::debug!(%server, "a resolver did not answer in time"),
            }
        }
        None
    }
}

async fn by_udp(
    server: SocketAddr,
    question: &[u8],
    asked: &Message,
    id: [u8; 2],
) -> io::Result<Vec<u8>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // Answers of others are not even seen.
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; ANSWER_MAX];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..length).unwrap_or_default();
        if answers(answer, asked, id) {
            return Ok(answer.to_vec());
        }
    }
}

async fn by_tcp(
    server: SocketAddr,
    question: &[u8],
    asked: &Message,
    id: [u8; 2],
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    write(&mut stream, question).await?;
    let answer = read(&mut stream).await?;
    if answers(&answer, asked, id) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Whether this is an answer to what was asked.
fn answers(answer: &[u8], asked: &Message, id: [u8; 2]) -> bool {
    let Ok(answer) = Message::from_vec(answer) else {
        return false;
    };
    let head = &answer.metadata;
    let refused = answer.queries.is_empty() && answer.answers.is_empty();
    head.message_type == MessageType::Response
        && head.id == u16::from_be_bytes(id)
        && (refused || answer.queries == asked.queries)
}

/// Reads a message with its length before it.
pub(crate) async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes a message with its length before it, in one piece.
pub(crate) async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

/// The resolvers that a `resolv.conf` names (`resolv.conf(5)`).
fn servers(text: &str) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("nameserver")
            && let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>)
        {
            servers.push(SocketAddr::new(address, 53));
        }
    }
    servers
}

#[cfg(test)]
mod test {
    use std::net::SocketAddr;

    use hickory_proto::op::{Message, OpCode, Query, ResponseCode};
    use hickory_proto::rr::{Name, RecordType};
    use tokio::net::{TcpListener, UdpSocket};

    use super::{Transport, Upstreams, read, servers, write};

    fn question() -> Message {
        let mut question = Message::query();
        let name = Name::from_ascii("example.com.").unwrap();
        question.add_query(Query::query(name, RecordType::A));
        question
    }

    /// The answer that there is no such name.
    fn answer(question: &[u8]) -> Vec<u8> {
        let question = Message::from_vec(question).unwrap();
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.response_code = ResponseCode::NXDomain;
        answer.add_queries(question.queries);
        answer.to_vec().unwrap()
    }

    #[test]
    fn resolvers_are_read_among_other_lines() {
        let text = "# nameserver 1.1.1.1\nsearch a b\nnameserver 9.9.9.9\nnameserver ::1\n\
                    nameserver\nnameserver fe80::1%eth0\noptions edns0\n";
        let found = servers(text);
        let expected: [SocketAddr; 2] =
            ["9.9.9.9:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn an_answer_has_the_number_of_its_question_and_a_forged_one_is_passed_over() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let upstreams = Upstreams::new(vec![server.local_addr().unwrap()]);
        let question = question().to_vec().unwrap();
        let serve = async {
            let mut buffer = [0; 512];
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            let real = answer(&buffer[..length]);
            let mut forged = real.clone();
            forged[0] ^= 0xff;
            server.send_to(&forged, from).await.unwrap();
            server.send_to(b"garbage", from).await.unwrap();
            server.send_to(&real, from).await.unwrap();
        };
        let ((), told) = tokio::join!(serve, upstreams.ask(&question, Transport::Udp));
        assert_eq!(told.unwrap(), answer(&question));
    }

    #[tokio::test]
    async fn a_resolver_that_is_not_there_is_followed_by_the_next() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = gone.local_addr().unwrap();
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstreams = Upstreams::new(vec![gone, server.local_addr().unwrap()]);
        let question = question().to_vec().unwrap();
        let serve = async {
            let (mut stream, _) = server.accept().await.unwrap();
            let heard = read(&mut stream).await.unwrap();
            write(&mut stream, &answer(&heard)).await.unwrap();
        };
        let ((), told) = tokio::join!(serve, upstreams.ask(&question, Transport::Tcp));
        assert_eq!(told.unwrap(), answer(&question));
    }
}
