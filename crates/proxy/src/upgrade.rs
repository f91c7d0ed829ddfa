//! Connections that have changed their protocol: bytes both ways until both ends have ended.
//!
//! A site may say how long one without traffic keeps its machine awake. After that the machine is
//! let go, and woken again before the client's next bytes are passed on; a machine that sleeps has
//! nothing to say. If it went to disk meanwhile, the connection has ended with its link.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep_until};

use crate::sites::{Awake, Site, Sites};

/// How much is carried at once, in bytes.
const CHUNK: usize = 16 * 1024;

/// Carries until both ends have ended, or one has failed.
pub(crate) async fn carry(
    client: impl AsyncRead + AsyncWrite + Send,
    service: impl AsyncRead + AsyncWrite + Send,
    sites: &dyn Sites,
    site: &Site,
    awake: Awake,
) -> io::Result<()> {
    let keeper = Keeper {
        sites,
        site,
        state: Mutex::new(State {
            awake: Some(awake),
            last: Instant::now(),
        }),
        woken: Notify::new(),
    };
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_service, mut to_service) = tokio::io::split(service);
    let inward = copy(&mut from_client, &mut to_service, &keeper);
    let outward = copy(&mut from_service, &mut to_client, &keeper);
    tokio::select! {
        ended = async { tokio::try_join!(inward, outward) } => ended.map(|_| ()),
        never = keeper.watch() => match never {},
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    keeper: &Keeper<'_>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk).await?;
        keeper.traffic().await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..read]).await?;
        to.flush().await?;
    }
}

/// Keeps the machine awake while there is traffic.
struct Keeper<'a> {
    sites: &'a dyn Sites,
    site: &'a Site,
    state: Mutex<State>,
    /// Told when the machine is kept awake again.
    woken: Notify,
}

struct State {
    awake: Option<Awake>,
    last: Instant,
}

impl Keeper<'_> {
    /// Notes that there is traffic, and has the machine woken for it.
    async fn traffic(&self) -> io::Result<()> {
        let mut state = self.state.lock().await;
        if state.awake.is_none() {
            let awake = self.sites.wake(self.site).await;
            state.awake = Some(awake.map_err(io::Error::other)?);
            self.woken.notify_one();
        }
        state.last = Instant::now();
        Ok(())
    }

    /// Lets the machine go when there has been no traffic for long, for ever.
    async fn watch(&self) -> std::convert::Infallible {
        let Some(limit) = self.site.ws_idle else {
            return std::future::pending().await;
        };
        loop {
            let mut state = self.state.lock().await;
            let end = state.last + limit.max(Duration::from_millis(1));
            if state.awake.is_some() && Instant::now() < end {
                drop(state);
                sleep_until(end).await;
                continue;
            }
            state.awake = None;
            drop(state);
            self.woken.notified().await;
        }
    }
}

/// What carries an upgraded connection, as a task.
pub(crate) async fn run(
    client: hyper::upgrade::OnUpgrade,
    service: hyper::upgrade::OnUpgrade,
    sites: Arc<dyn Sites>,
    site: Arc<Site>,
    awake: Awake,
) {
    use hyper_util::rt::TokioIo;

    let carried = async {
        let (client, service) = tokio::try_join!(client, service).map_err(io::Error::other)?;
        let (client, service) = (TokioIo::new(client), TokioIo::new(service));
        carry(client, service, &*sites, &site, awake).await
    };
    if let Err(error) = carried.await {
        tracing::debug!(%error, site = site.id, "an upgraded connection ended early");
    }
}
