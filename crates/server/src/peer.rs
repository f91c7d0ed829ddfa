//! Where a connection comes from.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::OwnedSemaphorePermit;

/// A connection's place among those its listener takes at once. Requests carry it as an
/// extension, for a WebSocket outlives the HTTP connection that it came by.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Place {
    pub(crate) fn new(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: Arc::new(permit),
        }
    }
}

/// The other end of a connection. Every request carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// The unix socket, as the daemon's own user or as root: the local administrator.
    Local,
    /// The unix socket, as somebody else, who needs a token like everybody.
    OtherUser,
    /// TCP.
    Tcp(SocketAddr),
}

impl Peer {
    /// Looks at the credentials that the kernel keeps of whoever connected.
    pub(crate) fn of_unix(stream: &UnixStream) -> Self {
        let own = rustix::process::geteuid().as_raw();
        match stream.peer_cred() {
            Ok(credentials) if credentials.uid() == own || credentials.uid() == 0 => Self::Local,
            Ok(_) | Err(_) => Self::OtherUser,
        }
    }
}
