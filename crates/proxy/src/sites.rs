//! What the proxy asks of the rest of bhatti.

use std::any::Any;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A published service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Site {
    /// Names it for ever: two publications are two sites, even of the same port.
    pub id: String,
    /// The machine, in words of who answers [`Sites::connect`].
    pub machine: String,
    /// The service's port in the machine.
    pub port: u16,
    /// Whose it is, for limits and for the log.
    pub owner: String,
    /// Whether only its owner gets in.
    pub private: bool,
    /// How long a WebSocket without traffic keeps the machine awake; for as long as it is open if
    /// there is none.
    pub ws_idle: Option<Duration>,
}

/// A byte stream to a service.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Keeps a machine awake until it is dropped.
#[must_use]
pub struct Awake(#[expect(dead_code, reason = "it is there to be dropped")] Box<dyn Any + Send>);

impl Awake {
    /// What is dropped when the machine is no longer needed.
    pub fn new(lease: impl Any + Send) -> Self {
        Self(Box::new(lease))
    }
}

impl fmt::Debug for Awake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Awake")
    }
}

/// Why there is no connection to a service.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// There is no such machine any more (404).
    #[error("the machine is gone")]
    Gone,
    /// The machine runs, and nothing listens on the port (502).
    #[error("nothing listens on port {port} in the machine")]
    NotListening {
        /// The port.
        port: u16,
    },
    /// It did not work in time, or there is no room for it now; it may later (503).
    #[error("{message}")]
    Later {
        /// One line for the client.
        message: String,
        /// When it had better ask again.
        after: Duration,
    },
    /// It does not work (502). What exactly is in the log.
    #[error("{message}")]
    Failed {
        /// One line for the client.
        message: String,
    },
}

/// Who knows what is published, and reaches it.
#[async_trait]
pub trait Sites: Send + Sync + 'static {
    /// The site of an alias: a label of letters, digits and hyphens in lower case.
    async fn by_alias(&self, alias: &str) -> Option<Arc<Site>>;

    /// The site of a domain of its own, in lower case without a port.
    async fn by_domain(&self, domain: &str) -> Option<Arc<Site>>;

    /// Wakes a site's machine if need be.
    async fn wake(&self, site: &Site) -> Result<Awake, ConnectError>;

    /// Connects to a site's service, waking its machine if need be.
    ///
    /// A service that does not listen yet, because its machine has only just booted, is waited for.
    async fn connect(&self, site: &Site) -> Result<(Box<dyn Stream>, Awake), ConnectError>;

    /// Whether a token is one of the site's owner's.
    async fn may_enter(&self, site: &Site, token: &str) -> bool;

    /// Notes that a client was turned away, for the owner's log.
    fn turned_away(&self, site: &Site, client: IpAddr, why: &'static str) {
        tracing::debug!(site = site.id, %client, why, "a client was turned away");
    }
}
