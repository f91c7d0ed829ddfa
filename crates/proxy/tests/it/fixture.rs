//! A proxy on loopback, its sites, and raw conversations.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bhatti_proxy::forward::Carrier;
use bhatti_proxy::limits::{Limits, Rates};
use bhatti_proxy::serve::Proxy;
use bhatti_proxy::sites::{Awake, ConnectError, Site, Sites, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// For everything that should take no time at all, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// The token of the owner of all sites.
pub(crate) const TOKEN: &str = "bht_owner_1";

/// Sites of which each alias is a service on loopback.
#[derive(Debug, Default)]
pub(crate) struct Loopback {
    sites: Mutex<Vec<(String, Arc<Site>, SocketAddr)>>,
    /// How many leases there are.
    pub(crate) awake: Arc<AtomicUsize>,
    /// How often a machine was woken or connected to.
    pub(crate) wakes: AtomicUsize,
    pub(crate) connects: AtomicUsize,
    /// While set, a machine does not wake.
    pub(crate) asleep: AtomicBool,
    pub(crate) woken: Notify,
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Loopback {
    /// Publishes a service.
    pub(crate) fn publish(&self, alias: &str, service: SocketAddr, change: impl FnOnce(&mut Site)) {
        let mut site = Site {
            id: format!("pub_{alias}"),
            machine: alias.to_owned(),
            port: service.port(),
            owner: "usr_1".to_owned(),
            private: false,
            ws_idle: None,
        };
        change(&mut site);
        let mut sites = self.sites.lock().unwrap();
        sites.push((alias.to_owned(), Arc::new(site), service));
    }

    fn lease(&self) -> Awake {
        self.awake.fetch_add(1, Ordering::SeqCst);
        Awake::new(Counted(Arc::clone(&self.awake)))
    }

    /// Lets machines wake.
    pub(crate) fn let_wake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
        self.woken.notify_waiters();
    }

    async fn up(&self) {
        loop {
            let woken = self.woken.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            if !self.asleep.load(Ordering::SeqCst) {
                return;
            }
            woken.await;
        }
    }
}

#[async_trait]
impl Sites for Loopback {
    async fn by_alias(&self, alias: &str) -> Option<Arc<Site>> {
        let sites = self.sites.lock().unwrap();
        let found = sites.iter().find(|(name, _, _)| name == alias);
        found.map(|(_, site, _)| Arc::clone(site))
    }

    async fn by_domain(&self, domain: &str) -> Option<Arc<Site>> {
        self.by_alias(domain.strip_suffix(".example.org")?).await
    }

    async fn wake(&self, _site: &Site) -> Result<Awake, ConnectError> {
        self.up().await;
        self.wakes.fetch_add(1, Ordering::SeqCst);
        Ok(self.lease())
    }

    async fn connect(&self, site: &Site) -> Result<(Box<dyn Stream>, Awake), ConnectError> {
        self.up().await;
        self.connects.fetch_add(1, Ordering::SeqCst);
        let address = {
            let sites = self.sites.lock().unwrap();
            let found = sites.iter().find(|(_, other, _)| other.id == site.id);
            found.ok_or(ConnectError::Gone)?.2
        };
        let stream = TcpStream::connect(address)
            .await
            .map_err(|_| ConnectError::NotListening { port: site.port })?;
        Ok((Box::new(stream), self.lease()))
    }

    async fn may_enter(&self, _site: &Site, token: &str) -> bool {
        token == TOKEN
    }
}

/// A proxy that runs.
pub(crate) struct Running {
    pub(crate) sites: Arc<Loopback>,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
    carrier: Carrier,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::with_rates(None).await
    }

    /// One with a site `web`, and the listener of its service.
    pub(crate) async fn with_web() -> (Self, TcpListener) {
        let proxy = Self::start().await;
        let (listener, address) = service().await;
        proxy.sites.publish("web", address, |_| ());
        (proxy, listener)
    }

    pub(crate) async fn with_rates(rates: Option<Rates>) -> Self {
        let sites = Arc::new(Loopback::default());
        let carrier = Carrier::new(Arc::clone(&sites) as _, Limits::new(rates));
        let proxy = Proxy::new(carrier.clone(), Some("sb.example.com".to_owned()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let served = tokio::spawn(async move { proxy.serve(listener, stopped).await });
        Self {
            sites,
            address,
            stop,
            served,
            carrier,
        }
    }

    /// Stops the proxy and sees that nothing is left of it.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(SOON, self.served).await.unwrap().unwrap();
        timeout(SOON, self.carrier.close()).await.unwrap();
        assert_eq!(
            self.sites.awake.load(Ordering::SeqCst),
            0,
            "leases are left"
        );
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and gives all that comes until the end of the connection.
    pub(crate) async fn talk(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        until_end(&mut stream).await
    }

    /// Waits until so many leases are held.
    pub(crate) async fn leases(&self, wanted: usize) {
        let reached = async {
            while self.sites.awake.load(Ordering::SeqCst) != wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, reached).await.unwrap();
    }
}

pub(crate) async fn until_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut text)).await;
    // A reset is an end too.
    let _ = read.unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads a head, up to the empty line.
pub(crate) async fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = async {
        while !text.ends_with(b"\r\n\r\n") {
            text.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(SOON, read).await.unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

/// A listener, and the connections it has taken.
pub(crate) async fn service() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

pub(crate) async fn taken(listener: &TcpListener) -> TcpStream {
    timeout(SOON, listener.accept()).await.unwrap().unwrap().0
}

/// Takes a connection, and answers the one request on it with nothing; gives the request's head.
pub(crate) async fn answered(listener: &TcpListener) -> String {
    let mut stream = taken(listener).await;
    let head = head(&mut stream).await;
    stream
        .write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
        .await
        .unwrap();
    head
}
