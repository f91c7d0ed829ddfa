//! Listening, and the end of it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::forward::Carrier;
use crate::headers::{self, Asked};
use crate::page;
use crate::pool::Body;
use crate::route::{self, Target};
use crate::sites::Site;

/// Most connections at once.
const MAX_CONNECTIONS: usize = 10_000;
/// Time for a client to send the head of its next request. An idle connection ends with it too.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Longest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Most requests at once on one connection of HTTP/2.
const MAX_STREAMS: u32 = 256;
/// How often a silent connection of HTTP/2 is tried, and how long it may take to answer.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));
/// When TCP begins to ask a silent client for a sign of life, how often, and how many times. A client
/// that is gone looks like one that only has nothing more to say, until its host is asked.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(15), 4);
/// Pause after a connection could not be taken, for want of file descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often what is no longer needed is let go.
const SWEEP: Duration = Duration::from_secs(10);
/// How long requests may take to finish once the proxy stops.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The public proxy.
#[derive(Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
}

struct Inner {
    carrier: Carrier,
    zone: Option<String>,
    tasks: TaskTracker,
    /// Cancelled when what has not finished by itself has to end.
    closing: CancellationToken,
}

impl Proxy {
    /// A proxy for the sites of a carrier: `ALIAS.<zone>` if there is a zone.
    pub fn new(carrier: Carrier, zone: Option<String>) -> Self {
        Self {
            inner: Arc::new(Inner {
                carrier,
                zone,
                tasks: TaskTracker::new(),
                closing: CancellationToken::new(),
            }),
        }
    }

    /// Serves plain HTTP until `shutdown` is cancelled and requests in progress have ended, or have
    /// taken too long.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut sweep = interval(SWEEP);
        loop {
            let place = places.clone().acquire_owned();
            let accepted = tokio::select! {
                accepted = async { (place.await, listener.accept().await) } => accepted,
                _ = sweep.tick() => {
                    self.inner.carrier.pool.sweep();
                    self.inner.carrier.limits.sweep();
                    continue;
                }
                () = shutdown.cancelled() => break,
            };
            match accepted {
                (place, Ok((stream, address))) => {
                    let Some(own) = self.inner.carrier.limits.connection(address.ip()) else {
                        // Dropped without a word: an answer would cost more than the question.
                        continue;
                    };
                    let proxy = self.clone();
                    let shutdown = shutdown.clone();
                    self.inner.tasks.spawn(async move {
                        let _held = (place, own);
                        proxy.plain(stream, address, shutdown).await;
                    });
                }
                (_, Err(error)) => {
                    tracing::warn!(%error, "failed to take a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.inner.tasks.close();
        let waited = tokio::time::timeout(STOP_LIMIT, self.inner.tasks.wait());
        if waited.await.is_err() {
            self.inner.closing.cancel();
            self.inner.tasks.wait().await;
        }
    }

    async fn plain(self, stream: TcpStream, address: SocketAddr, shutdown: CancellationToken) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a connection ended early");
            return;
        }
        self.connection(stream, address, false, shutdown).await;
    }

    /// Serves one connection until it ends.
    pub async fn connection<S>(
        self,
        stream: S,
        address: SocketAddr,
        tls: bool,
        shutdown: CancellationToken,
    ) where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let client = address.ip();
        let closing = self.inner.closing.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let proxy = self.clone();
            async move { Ok::<_, Infallible>(proxy.answer(request, client, tls).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_LIMIT)
            .max_buf_size(MAX_HEAD)
            .preserve_header_case(true)
            // A client may have said all it has to say and still read the answer.
            .half_close(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEAD as u32)
            .max_concurrent_streams(MAX_STREAMS)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    () = closing.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            // Clients go away as they like.
            tracing::debug!(%error, "a connection ended early");
        }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        client: IpAddr,
        tls: bool,
    ) -> Response<Body> {
        let Some(host) = host(request.uri(), request.headers()) else {
            return page::line(
                StatusCode::BAD_REQUEST,
                "the request names no host, or several",
            );
        };
        let text = host.to_str().unwrap_or_default();
        let target = route::target(text, request.uri(), self.inner.zone.as_deref());
        let sites = &self.inner.carrier.sites;
        let (site, rest, prefix) = match target {
            Target::Alias(alias) => (sites.by_alias(&alias).await, None, None),
            Target::Path {
                alias,
                rest,
                prefix,
            } => (sites.by_alias(&alias).await, Some(rest), Some(prefix)),
            Target::Domain(domain) => (sites.by_domain(&domain).await, None, None),
            Target::AddSlash { location } => return page::moved(&location),
            Target::Nobody => (None, None, None),
        };
        let counted = site.as_ref().map_or("", |site| site.id.as_str());
        if let Err(after) = self.inner.carrier.limits.request(client, counted) {
            return page::too_many(after);
        }
        let Some(site) = site else {
            return page::line(StatusCode::NOT_FOUND, "nothing is published here");
        };
        if site.private {
            if !self.may_enter(&site, request.headers(), client).await {
                return page::locked();
            }
            headers::without_credentials(request.headers_mut());
        }
        let asked = Asked {
            client,
            tls,
            host,
            prefix,
        };
        self.inner.carrier.carry(request, site, asked, rest).await
    }

    async fn may_enter(&self, site: &Arc<Site>, headers: &HeaderMap, client: IpAddr) -> bool {
        let token = headers.get(AUTHORIZATION).and_then(token);
        let enters = match &token {
            Some(token) => self.inner.carrier.sites.may_enter(site, token).await,
            None => false,
        };
        if token.is_some() && !enters {
            self.inner
                .carrier
                .sites
                .turned_away(site, client, "wrong token");
        }
        enters
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;

    let (idle, every, times) = KEEPALIVE;
    // Small answers are small because somebody waits for them.
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, idle)?;
    sockopt::set_tcp_keepintvl(stream, every)?;
    Ok(sockopt::set_tcp_keepcnt(stream, times)?)
}

/// The one host that a request is for: the address's own part of it goes before the header
/// (RFC 9112, 3.2.2).
fn host(uri: &Uri, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut named = headers.get_all(HOST).iter();
    let (first, second) = (named.next(), named.next());
    if second.is_some() {
        return None;
    }
    match uri.authority() {
        // What is before an `@` is not part of the host.
        Some(authority) => {
            let text = authority.as_str();
            let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
            HeaderValue::from_str(host).ok()
        }
        None => first.cloned(),
    }
}

/// The token in a header: of `Bearer`, or the password of `Basic`.
fn token(header: &HeaderValue) -> Option<String> {
    use base64::Engine as _;

    let (scheme, rest) = header.to_str().ok()?.trim().split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(rest.trim())
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

#[cfg(test)]
mod test {
    use http::header::{HOST, HeaderMap, HeaderValue};

    use super::{host, token};

    #[test]
    fn a_token_comes_as_itself_or_as_a_browsers_password() {
        let given = |text: &'static str| token(&HeaderValue::from_static(text));
        assert_eq!(given("Bearer bht_a_1").as_deref(), Some("bht_a_1"));
        assert_eq!(given("basic YW55OmJodF9hXzE=").as_deref(), Some("bht_a_1"));
        for other in ["Basic !", "Basic YW55", "Digest x", "bht_a_1"] {
            assert_eq!(given(other), None, "{other}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        let mut headers = HeaderMap::new();
        assert_eq!(host(&"/".parse().unwrap(), &headers), None);
        headers.insert(HOST, HeaderValue::from_static("a"));
        assert_eq!(host(&"/".parse().unwrap(), &headers).unwrap(), "a");
        let absolute = "http://u@b:1/".parse().unwrap();
        assert_eq!(host(&absolute, &headers).unwrap(), "b:1");
        headers.append(HOST, HeaderValue::from_static("c"));
        assert_eq!(host(&"/".parse().unwrap(), &headers), None);
    }
}
