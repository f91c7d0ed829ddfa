//! Listens for questions. Each user has so many places for them and no more: what has no place is
//! not answered, and is asked again.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bhatti_types::egress::{Egress, EgressMode};
use bhatti_types::id::UserId;
use hickory_proto::op::{Message, ResponseCode};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answer::{Answer, Asker, answer};
use super::upstream::{self, Transport, Upstreams};
use crate::networks::Names;
use crate::range::Range;
use crate::user_network::Sockets;

/// Questions under way at once, of one user.
const QUESTIONS: usize = 128;
/// Connections at once, of one user.
const CONNECTIONS: usize = 32;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// Longest question by UDP, in bytes; longer ones are cut off, and then no question.
const QUESTION_MAX: usize = 4096;
/// The pause after an error of the socket itself, such as a lack of memory.
const PAUSE: Duration = Duration::from_millis(100);

/// The policies of the machines that are let in.
#[derive(Debug, Clone, Default)]
pub(crate) struct Modes(Arc<Mutex<BTreeMap<Ipv4Addr, EgressMode>>>);

impl Modes {
    /// Takes in who is let in now.
    pub(crate) fn set(&self, open: &BTreeMap<Ipv4Addr, Egress>) {
        let modes = open.iter().map(|(address, egress)| (*address, egress.mode));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = modes.collect();
    }

    fn of(&self, address: Ipv4Addr) -> Option<EgressMode> {
        let modes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        modes.get(&address).copied()
    }
}

/// The resolver of one user's network. Its tasks end with `stop`.
pub(crate) struct Resolver {
    pub(crate) user: UserId,
    pub(crate) range: Range,
    pub(crate) names: Arc<dyn Names>,
    pub(crate) modes: Modes,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Resolver {
    /// Starts listening, on sockets of the user's namespace.
    pub(crate) fn start(self, sockets: Sockets) -> io::Result<()> {
        let Sockets { udp, tcp } = sockets;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let (udp, tcp) = (UdpSocket::from_std(udp)?, TcpListener::from_std(tcp)?);
        let (resolver, places) = (Arc::new(self), Arc::new(Semaphore::new(QUESTIONS)));
        let tasks = resolver.tasks.clone();
        tasks.spawn(resolver.clone().datagrams(udp, places.clone()));
        tasks.spawn(resolver.connections(tcp, places));
        Ok(())
    }

    async fn datagrams(self: Arc<Self>, socket: UdpSocket, places: Arc<Semaphore>) {
        let socket = Arc::new(socket);
        let mut buffer = vec![0; QUESTION_MAX];
        loop {
            let received = tokio::select! {
                () = self.stop.cancelled() => return,
                received = socket.recv_from(&mut buffer) => received,
            };
            let Ok((length, from)) = received else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let question = buffer.get(..length).unwrap_or_default().to_vec();
            let (resolver, socket) = (self.clone(), socket.clone());
            self.tasks.spawn(async move {
                let told = resolver.tell(&question, from, Transport::Udp);
                let told = resolver.stop.clone().run_until_cancelled_owned(told).await;
                if let Some(Some(told)) = told {
                    // Whoever asked may be gone.
                    let _ = socket.send_to(&told, from).await;
                }
                drop(place);
            });
        }
    }

    async fn connections(self: Arc<Self>, listener: TcpListener, places: Arc<Semaphore>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, from)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let Ok(connection) = connections.clone().try_acquire_owned() else {
                continue;
            };
            let (resolver, places) = (self.clone(), places.clone());
            self.tasks.spawn(async move {
                let stop = resolver.stop.clone();
                let served = resolver.connection(stream, from, &places);
                // How it ends is of no interest: it is the guest's.
                let _ = stop.run_until_cancelled(served).await;
                drop(connection);
            });
        }
    }

    async fn connection(
        &self,
        mut stream: TcpStream,
        from: SocketAddr,
        places: &Semaphore,
    ) -> io::Result<()> {
        loop {
            let question = timeout(SILENCE, upstream::read(&mut stream)).await??;
            let Ok(place) = places.try_acquire() else {
                return Ok(());
            };
            let Some(told) = self.tell(&question, from, Transport::Tcp).await else {
                return Ok(());
            };
            drop(place);
            timeout(SILENCE, upstream::write(&mut stream, &told)).await??;
        }
    }

    async fn tell(
        &self,
        question: &[u8],
        from: SocketAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let IpAddr::V4(from) = from.ip() else {
            return None;
        };
        match self.answer(question, from) {
            Answer::Reply(reply) => Some(reply),
            Answer::Nothing => None,
            Answer::Forward => match self.upstreams.ask(question, transport).await {
                Some(answer) => Some(answer),
                None => failure(question),
            },
        }
    }

    fn answer(&self, question: &[u8], from: Ipv4Addr) -> Answer {
        let asker = Asker {
            user: &self.user,
            mode: self.modes.of(from),
            range: self.range,
        };
        answer(question, &asker, &*self.names)
    }
}

/// The answer that nobody outside answered.
fn failure(question: &[u8]) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let asked = &question.metadata;
    let mut reply = Message::error_msg(asked.id, asked.op_code, ResponseCode::ServFail);
    reply.metadata.recursion_desired = asked.recursion_desired;
    reply.metadata.recursion_available = true;
    reply.add_queries(question.queries);
    reply.to_vec().ok()
}
