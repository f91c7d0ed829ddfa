//! How one request is carried to its service, and the answer back.
//!
//! Nothing is held: bodies go through in pieces as they come, in both directions, with their
//! trailers. A request's body is not read before there is a connection to send it on, so that it
//! is not lost while a machine wakes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, request};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::upgrade::OnUpgrade;
use tracing::Instrument as _;

use crate::headers::{self, Asked};
use crate::held::Held;
use crate::limits::Limits;
use crate::page;
use crate::pool::{Body, BodyError, Pool, Sender};
use crate::sites::{Awake, ConnectError, Site, Sites};
use crate::upgrade;

/// How long a browser that opens a page waits before it is shown another.
const PATIENCE: Duration = Duration::from_secs(2);
/// When a client had better ask again of which too many wait already.
const CROWDED: Duration = Duration::from_secs(5);

/// Carries requests. Cheap to clone.
#[derive(Clone)]
pub struct Carrier {
    pub(crate) sites: Arc<dyn Sites>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) limits: Arc<Limits>,
}

/// Why a request got no answer of its service's.
enum Failed {
    Connect(ConnectError),
    Http(hyper::Error),
    Crowded,
}

impl Carrier {
    /// Carries to these sites.
    pub fn new(sites: Arc<dyn Sites>, limits: Limits) -> Self {
        Self {
            sites,
            pool: Pool::new(),
            limits: Arc::new(limits),
        }
    }

    /// Lets go of what is kept, and waits until connections in use have ended.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Carries a request to a site: with `rest` in place of its path, if there is one.
    pub async fn carry<B>(
        &self,
        request: Request<B>,
        site: Arc<Site>,
        asked: Asked,
        rest: Option<PathAndQuery>,
    ) -> Response<Body>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let (mut parts, body) = request.into_parts();
        let client = parts.extensions.remove::<OnUpgrade>();
        let version = parts.version;
        let http2 = headers::is_grpc(&parts.method, &parts.headers);
        let navigates = page::is_navigation(&parts.method, &parts.headers);
        let wanted = headers::for_service(&mut parts.headers, &asked, version);
        let target = rest
            .or_else(|| parts.uri.path_and_query().cloned())
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        address(&mut parts, target, &asked.host, http2);
        parts.extensions.clear();
        let body = body.map_err(Into::into).boxed_unsync();
        let head = Head {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
        };
        let request = Request::from_parts(parts, body);

        let answer = match self.ask(request, &site, http2, navigates).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return page::waking(),
            Err(failed) => return refused(&failed, &site, &head),
        };
        let Answer {
            response,
            sender,
            awake,
        } = answer;
        let (mut parts, body) = response.into_parts();
        headers::for_client(&mut parts.headers, parts.status);
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return match (client, parts.extensions.remove::<OnUpgrade>(), wanted) {
                (Some(client), Some(service), Some(_)) => {
                    let (sites, tasks) = (Arc::clone(&self.sites), self.pool.tasks());
                    let carried = upgrade::run(client, service, sites, site, awake);
                    tasks.spawn(carried.in_current_span());
                    Response::from_parts(parts, empty())
                }
                _ => page::line(
                    StatusCode::BAD_GATEWAY,
                    "the service changed the protocol without being asked",
                ),
            };
        }
        self.pool.put(&site, sender);
        let body = body.map_err(Into::into).boxed_unsync();
        // The machine is needed for as long as the answer comes.
        let body = Held::new(body, awake).boxed_unsync();
        Response::from_parts(parts, body)
    }

    /// Sends a request over a kept connection, or else a new one. `None` if a browser is to be
    /// shown something meanwhile.
    async fn ask(
        &self,
        request: Request<Body>,
        site: &Arc<Site>,
        http2: bool,
        navigates: bool,
    ) -> Result<Option<Answer>, Failed> {
        let mut request = request;
        if let Some(mut sender) = self.pool.take(site, http2) {
            let mut again = again(&request);
            let awake = self.sites.wake(site).await.map_err(Failed::Connect)?;
            match sender.send(request).await {
                Ok(response) => {
                    return Ok(Some(Answer {
                        response,
                        sender,
                        awake,
                    }));
                }
                // Closed by the service in the moment it was used; one new connection tells.
                Err(not_sent) => match not_sent.request.map(|request| *request).or(again.take()) {
                    Some(unsent) => request = unsent,
                    None => return Err(Failed::Http(not_sent.error)),
                },
            }
        }
        let waiting = self.limits.waiting(&site.owner).ok_or(Failed::Crowded)?;
        let connect = self.sites.connect(site);
        let connected = if navigates {
            match tokio::time::timeout(PATIENCE, connect).await {
                Ok(connected) => connected,
                Err(_elapsed) => return Ok(None),
            }
        } else {
            connect.await
        };
        let (stream, awake) = connected.map_err(Failed::Connect)?;
        drop(waiting);
        let opened = self.pool.open(stream, http2).await;
        let mut sender = opened.map_err(Failed::Http)?;
        match sender.send(request).await {
            Ok(response) => Ok(Some(Answer {
                response,
                sender,
                awake,
            })),
            Err(not_sent) => Err(Failed::Http(not_sent.error)),
        }
    }
}

struct Answer {
    response: Response<Incoming>,
    sender: Sender,
    awake: Awake,
}

/// Writes a request's address in the form that its protocol has.
fn address(parts: &mut request::Parts, target: PathAndQuery, host: &HeaderValue, http2: bool) {
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(target);
    if http2 {
        parts.version = Version::HTTP_2;
        parts.headers.remove(HOST);
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = host.to_str().ok().and_then(|host| host.parse().ok());
        if uri.authority.is_none() {
            uri.authority = Some(http::uri::Authority::from_static("localhost"));
        }
    } else {
        parts.version = Version::HTTP_11;
    }
    // A path with what goes before it, or nothing: both are addresses.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
}

/// The same request once more, if it can be sent twice: it has no body and changes nothing.
fn again(request: &Request<Body>) -> Option<Request<Body>> {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    (safe && request.body().is_end_stream()).then(|| {
        let mut copy = Request::new(empty());
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        *copy.version_mut() = request.version();
        copy.headers_mut().clone_from(request.headers());
        copy
    })
}

/// What the log tells of a request.
struct Head {
    method: Method,
    uri: Uri,
}

fn refused(failed: &Failed, site: &Site, head: &Head) -> Response<Body> {
    let (method, path) = (&head.method, head.uri.path());
    match failed {
        Failed::Connect(error) => {
            tracing::info!(site = site.id, %method, path, %error, "a request was not served");
            page::not_connected(error)
        }
        Failed::Http(error) => {
            let error: &(dyn std::error::Error + 'static) = error;
            tracing::info!(site = site.id, %method, path, error, "a request was not answered");
            page::line(
                StatusCode::BAD_GATEWAY,
                "the service did not give a valid answer",
            )
        }
        Failed::Crowded => page::later("too many requests wait for this machine", CROWDED),
    }
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
