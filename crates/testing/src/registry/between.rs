//! Stands between a registry and its client: passes on what is said, keeps the requests, and
//! spoils the replies that it is told to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is done to a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed after this many bytes, the head counted too.
    Cut(usize),
    /// Nothing comes after this many bytes, until [`Between::release`].
    Hold(usize),
    /// This byte, the head counted too, is another.
    Spoil(usize),
}

/// A request, as far as it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Method and path.
    pub line: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// Whether there was an `Authorization` header.
    pub authorized: bool,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    faults: Vec<(String, VecDeque<Fault>)>,
}

/// The man in the middle. He leaves when this is dropped.
#[derive(Debug)]
pub struct Between {
    host: String,
    state: Arc<Mutex<State>>,
    released: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Between {
    /// Begins to stand before a registry, on a port of his own.
    ///
    /// # Panics
    /// If there is no port.
    pub async fn start(registry: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("it is bound").to_string();
        let state = Arc::<Mutex<State>>::default();
        let (released, hold) = watch::channel(false);
        let (registry, shared) = (registry.to_owned(), Arc::clone(&state));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&registry).await else {
                    continue;
                };
                connections.spawn(carry(client, server, Arc::clone(&shared), hold.clone()));
            }
        });
        Self {
            host,
            state,
            released,
            _task: task,
        }
    }

    /// Host and port at which he stands.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Has the next replies to requests whose path ends so spoilt, one by one.
    pub fn spoil(&self, path_end: &str, faults: &[Fault]) {
        let faults = faults.iter().copied().collect();
        self.state().faults.push((path_end.to_owned(), faults));
    }

    /// Lets go what is held.
    pub fn release(&self) {
        self.released.send_replace(true);
    }

    /// What was asked for so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// The requests for the blob with this digest.
    pub fn blob_requests(&self, digest: &str) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.line.starts_with("GET ") && seen.line.ends_with(digest));
        seen
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries one connection. Bodies of requests are passed on unread: what is looked at begins a
/// write of the client's.
async fn carry(
    client: TcpStream,
    server: TcpStream,
    state: Arc<Mutex<State>>,
    hold: watch::Receiver<bool>,
) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (fault, fault_seen) = watch::channel(None);
    let up = requests(from_client, to_server, state, fault);
    let down = replies(from_server, to_client, fault_seen, hold);
    // Either end of the connection ends both.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    state: Arc<Mutex<State>>,
    fault: watch::Sender<Option<Fault>>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let bytes = &buffer[..count];
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        if let Some(line) = first.strip_suffix(" HTTP/1.1") {
            let header = |name: &str| {
                text.lines().find_map(|line| {
                    let (found, value) = line.split_once(':')?;
                    found
                        .eq_ignore_ascii_case(name)
                        .then(|| value.trim().to_owned())
                })
            };
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.seen.push(Seen {
                line: line.to_owned(),
                range: header("range"),
                authorized: header("authorization").is_some(),
            });
            let next = state
                .faults
                .iter_mut()
                .filter(|(end, _)| line.ends_with(end.as_str()))
                .find_map(|(_, faults)| faults.pop_front());
            fault.send_replace(next);
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn replies(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut fault: watch::Receiver<Option<Fault>>,
    mut hold: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0;
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        // A request begins a new reply.
        if fault.has_changed().unwrap_or(false) {
            passed = 0;
        }
        let wanted = *fault.borrow_and_update();
        let bytes = &mut buffer[..count];
        let at = |place: usize| place.saturating_sub(passed).min(count);
        match wanted {
            Some(Fault::Cut(after)) if at(after) < count => {
                // Both ends are closed after it, whatever becomes of the rest.
                drop(to.write_all(&bytes[..at(after)]).await);
                return;
            }
            Some(Fault::Hold(after)) if at(after) < count => {
                let (before, rest) = bytes.split_at(at(after));
                if to.write_all(before).await.is_err() {
                    return;
                }
                // It fails only if nobody can let go any more.
                drop(hold.wait_for(|released| *released).await);
                if to.write_all(rest).await.is_err() {
                    return;
                }
            }
            _ => {
                if let Some(Fault::Spoil(place)) = wanted
                    && let Some(byte) = place.checked_sub(passed).and_then(|at| bytes.get_mut(at))
                {
                    *byte ^= 1;
                }
                if to.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
        passed += count;
    }
}
