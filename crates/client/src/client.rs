//! The client: one exchange for each call.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::connect::connect;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::reply::Reply;
use crate::token::BearerToken;

/// How long a call that only reads may take.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a call that changes a machine may take: booting a guest under software emulation on
/// a busy host, or writing its memory to a slow disk, takes minutes at worst.
pub(crate) const CHANGE_TIMEOUT: Duration = Duration::from_mins(10);
/// Longest answer that is taken: two buffered streams of an exec in JSON, where a byte may take
/// six characters.
const MAX_REPLY: usize = 160 * 1024 * 1024;
/// What a path segment keeps as it is; all else is percent-encoded, so that a name cannot become
/// another path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A client of one daemon. Cheap to clone; holds no connection between calls.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
    token: Option<BearerToken>,
}

/// One call, before it is made.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// The route, for errors: `GET /sandboxes/{id}`.
    pub(crate) what: &'static str,
    pub(crate) body: Option<Bytes>,
    pub(crate) limit: Duration,
}

/// The task that moves a connection's bytes. Ended with its owner.
pub(crate) struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Call {
    /// A call that only reads.
    pub(crate) fn get(path: impl Into<String>, what: &'static str) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            what,
            body: None,
            limit: READ_TIMEOUT,
        }
    }

    /// A call that takes something away.
    pub(crate) fn delete(path: impl Into<String>, what: &'static str) -> Self {
        Self {
            method: Method::DELETE,
            limit: CHANGE_TIMEOUT,
            ..Self::get(path, what)
        }
    }

    /// A call that changes something.
    pub(crate) fn patch<T: Serialize>(
        path: impl Into<String>,
        what: &'static str,
        body: &T,
    ) -> Self {
        Self {
            method: Method::PATCH,
            ..Self::post(path, what, body)
        }
    }

    /// A call that makes or does something.
    pub(crate) fn post<T: Serialize>(
        path: impl Into<String>,
        what: &'static str,
        body: &T,
    ) -> Self {
        let body = serde_json::to_vec(body).expect("the API's bodies have text keys only");
        Self {
            method: Method::POST,
            body: Some(body.into()),
            limit: CHANGE_TIMEOUT,
            ..Self::get(path, what)
        }
    }
}

/// A name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    match name {
        // These two would be cleaned out of a path although they need no encoding.
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => utf8_percent_encode(name, SEGMENT).to_string(),
    }
}

impl Client {
    /// Makes a client. Nothing is connected before the first call.
    pub fn new(endpoint: Endpoint, token: Option<BearerToken>) -> Self {
        Self { endpoint, token }
    }

    /// Where the daemon is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Makes a call and reads the value in the answer.
    pub(crate) async fn fetch<T: DeserializeOwned>(&self, call: Call) -> Result<T, Error> {
        let what = call.what;
        self.call(call).await?.json(&self.endpoint, what)
    }

    /// Makes a call; an answer that is no success is an error. Dropping the future closes the
    /// connection; what the daemon had begun to change, it finishes.
    pub(crate) async fn call(&self, call: Call) -> Result<Reply, Error> {
        let started = Instant::now();
        let limit = call.limit;
        let (method, path) = (call.method.clone(), call.path.clone());
        let reply = match timeout(limit, self.exchange(call)).await {
            Ok(reply) => reply?,
            Err(_) => {
                return Err(Error::Timeout {
                    endpoint: self.endpoint.clone(),
                    seconds: limit.as_secs(),
                });
            }
        };
        tracing::debug!(
            %method,
            path,
            status = reply.status.as_u16(),
            ms = started.elapsed().as_secs_f64() * 1000.0,
            request_id = reply.header("x-request-id"),
            "call",
        );
        if reply.status.is_success() {
            Ok(reply)
        } else {
            Err(reply.refusal())
        }
    }

    async fn exchange(&self, call: Call) -> Result<Reply, Error> {
        let mut request = self.request(call.method, &call.path);
        if call.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request
            .header(ACCEPT, "application/json")
            .body(Full::new(call.body.unwrap_or_default()))
            .expect("paths are percent-encoded and headers are checked");
        let (response, _driver) = self.send(request).await?;
        self.read(response).await
    }

    /// A request with the headers that all have.
    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let host = HeaderValue::try_from(self.endpoint.host_header())
            .unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, concat!("bhatti/", env!("CARGO_PKG_VERSION")));
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token.header()),
            None => request,
        }
    }

    /// Connects, sends a request and gives the head of the response. The body needs the driver.
    pub(crate) async fn send<B>(
        &self,
        request: Request<B>,
    ) -> Result<(Response<Incoming>, Driver), Error>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let broken = |source| Error::Broken {
            endpoint: self.endpoint.clone(),
            source,
        };
        let io = connect(&self.endpoint).await?;
        let (mut sender, connection) = http1::handshake(io).await.map_err(broken)?;
        let driver = Driver(tokio::spawn(async move {
            // Its errors also reach the one request on this connection, which reports them.
            let _ = connection.with_upgrades().await;
        }));
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok((response, driver))
    }

    /// Reads a response to its end.
    pub(crate) async fn read(&self, response: Response<Incoming>) -> Result<Reply, Error> {
        let (head, body) = response.into_parts();
        let body = match Limited::new(body, MAX_REPLY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                let endpoint = self.endpoint.clone();
                return Err(match error.downcast::<hyper::Error>() {
                    Ok(source) => Error::Broken {
                        endpoint,
                        source: *source,
                    },
                    Err(other) => {
                        debug_assert!(other.is::<LengthLimitError>());
                        Error::TooLong { endpoint }
                    }
                });
            }
        };
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

#[cfg(test)]
mod test {
    use super::segment;

    #[test]
    fn a_name_stays_one_segment_of_the_path() {
        assert_eq!(segment("pr-247_a.b"), "pr-247_a.b");
        assert_eq!(segment("../users"), "..%2Fusers");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("a?b#c d\r\n"), "a%3Fb%23c%20d%0D%0A");
    }
}
