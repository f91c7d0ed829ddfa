//! One repository of a registry, spoken to with what opens it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Request, Response, StatusCode, Url};
use serde::Deserialize;

use super::challenge::{self, Challenge};
use super::credentials::Credentials;
use super::error::{RegistryError, shown};
use super::http::{Client, Transport, same_origin};
use super::limits::{MAX_ERROR_REPLY, MAX_TOKEN_REPLY};
use super::reference::Reference;

/// Time limit for a reply to begin.
const REPLY_LIMIT: Duration = Duration::from_mins(1);
/// Time limit for sending a blob: 100 GiB at 5 MB/s.
const UPLOAD_LIMIT: Duration = Duration::from_hours(6);
/// Time limit for a small reply to end.
const SMALL_LIMIT: Duration = Duration::from_mins(1);
/// Longest time that a registry may make us wait, if it says so.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(2);
/// As whom we ask for tokens where that is to be said.
const CLIENT_ID: &str = "bhatti";

/// With what a registry is opened, and how it is spoken to.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The credentials; none for what is public.
    pub credentials: Option<Credentials>,
    /// How it is spoken to.
    pub transport: Transport,
}

/// One repository of a registry.
#[derive(Debug)]
pub struct Repository {
    http: reqwest::Client,
    reference: Reference,
    access: Access,
    base: Url,
    /// What opened the registry last.
    authorization: Mutex<Option<HeaderValue>>,
}

/// The reply of a token server.
#[derive(Deserialize)]
struct TokenReply {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

impl Repository {
    /// The repository of a reference. Nothing is asked yet.
    pub fn new(
        client: &Client,
        reference: Reference,
        access: Access,
    ) -> Result<Self, RegistryError> {
        let host = reference.api_host();
        let path = reference.repository();
        let text = format!("{}://{host}/v2/{path}/", access.transport.scheme());
        let base = Url::parse(&text).map_err(|error| RegistryError::Protocol {
            registry: reference.registry().to_owned(),
            what: format!("its address is not valid: {error}"),
        })?;
        let authorization = match &access.credentials {
            Some(Credentials::Bearer { secret }) => {
                Some(header(reference.registry(), "Bearer", secret.reveal())?)
            }
            _ => None,
        };
        Ok(Self {
            http: client.of(access.transport).clone(),
            reference,
            access,
            base,
            authorization: Mutex::new(authorization),
        })
    }

    /// Which image is meant.
    pub fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The registry's name.
    pub(super) fn registry(&self) -> &str {
        self.reference.registry()
    }

    /// The address of something in the repository.
    pub(super) fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.join(&self.base, path)
    }

    /// The address that the registry refers to, as seen from another.
    pub(super) fn join(&self, from: &Url, path: &str) -> Result<Url, RegistryError> {
        let url = from.join(path);
        url.map_err(|_| self.protocol("it refers to an address that is none"))
    }

    /// Sends a request, with what opens the registry; asks for that if there is need.
    ///
    /// The reply may have any status; see [`Self::refusal`]. `request` may be called twice.
    pub(super) async fn send(
        &self,
        request: impl Fn(&reqwest::Client) -> reqwest::Result<Request>,
    ) -> Result<Response, RegistryError> {
        let mut renewed = false;
        loop {
            let mut request = request(&self.http).map_err(|error| self.unreachable(error))?;
            // A registry may have its uploads go elsewhere, and no secret is for there.
            let ours = same_origin(request.url(), &self.base);
            let authorization = self.authorization();
            if let Some(value) = authorization.filter(|_| ours) {
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            let response = self.execute(request).await?;
            // Nor does the challenge of a host that we were redirected to count.
            let asks = response.status() == StatusCode::UNAUTHORIZED
                && same_origin(response.url(), &self.base);
            if !asks || renewed {
                return Ok(response);
            }
            renewed = true;
            let values = response.headers().get_all(WWW_AUTHENTICATE).into_iter();
            let challenge = challenge::choose(values.filter_map(|value| value.to_str().ok()));
            let Some(challenge) = challenge else {
                return Ok(response);
            };
            let Some(value) = self.answer(challenge).await? else {
                return Ok(response);
            };
            *self
                .authorization
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = Some(value);
        }
    }

    /// Sends a request with a body that can be sent only once, and with what opened the registry
    /// last. It may take as long as [`UPLOAD_LIMIT`].
    pub(super) async fn send_body(
        &self,
        request: impl FnOnce(&reqwest::Client) -> reqwest::Result<Request>,
        body: reqwest::Body,
    ) -> Result<Response, RegistryError> {
        let mut request = request(&self.http).map_err(|error| self.unreachable(error))?;
        *request.body_mut() = Some(body);
        let ours = same_origin(request.url(), &self.base);
        if let Some(value) = self.authorization().filter(|_| ours) {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let reply = tokio::time::timeout(UPLOAD_LIMIT, self.http.execute(request)).await;
        reply
            .map_err(|_| self.slow(UPLOAD_LIMIT))?
            .map_err(|error| self.unreachable(error))
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.authorization
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    async fn execute(&self, request: Request) -> Result<Response, RegistryError> {
        tracing::debug!(method = %request.method(), path = request.url().path(), "registry");
        let reply = tokio::time::timeout(REPLY_LIMIT, self.http.execute(request)).await;
        reply
            .map_err(|_| self.slow(REPLY_LIMIT))?
            .map_err(|error| self.unreachable(error))
    }

    /// What opens the registry, or nothing if there is nothing to try.
    async fn answer(&self, challenge: Challenge) -> Result<Option<HeaderValue>, RegistryError> {
        match (challenge, &self.access.credentials) {
            (Challenge::Basic, Some(Credentials::Password { user, secret })) => {
                let word = BASE64.encode(format!("{user}:{}", secret.reveal()));
                header(self.registry(), "Basic", &word).map(Some)
            }
            (Challenge::Basic, _) | (_, Some(Credentials::Bearer { .. })) => Ok(None),
            (
                Challenge::Bearer {
                    realm,
                    service,
                    scope,
                },
                credentials,
            ) => {
                let realm = Url::parse(&realm)
                    .map_err(|_| self.protocol("its token server has no valid address"))?;
                if realm.scheme() != "https" && self.access.transport == Transport::Tls {
                    return Err(self.protocol("its token server speaks plain HTTP"));
                }
                let scope = scope
                    .unwrap_or_else(|| format!("repository:{}:pull", self.reference.repository()));
                let mut fields = vec![("scope", scope)];
                fields.extend(service.map(|service| ("service", service)));
                let request = match credentials {
                    Some(Credentials::Identity { secret }) => {
                        fields.push(("grant_type", "refresh_token".to_owned()));
                        fields.push(("client_id", CLIENT_ID.to_owned()));
                        fields.push(("refresh_token", secret.reveal().to_owned()));
                        self.http.post(realm).form(&fields)
                    }
                    Some(Credentials::Password { user, secret }) => self
                        .http
                        .get(realm)
                        .query(&fields)
                        .basic_auth(user, Some(secret.reveal())),
                    _ => self.http.get(realm).query(&fields),
                };
                let request = request.build().map_err(|error| self.unreachable(error))?;
                let response = self.execute(request).await?;
                if !response.status().is_success() {
                    return Err(self.refusal(response).await);
                }
                let body = self.small(response, "a token", MAX_TOKEN_REPLY).await?;
                let reply: TokenReply = serde_json::from_slice(&body)
                    .map_err(|_| self.protocol("its token server sends no token"))?;
                let token = reply.token.filter(|token| !token.is_empty());
                let token = token
                    .or(reply.access_token)
                    .ok_or_else(|| self.protocol("its token server sends no token"))?;
                header(self.registry(), "Bearer", &token).map(Some)
            }
        }
    }

    /// Reads a small body.
    pub(super) async fn small(
        &self,
        mut response: Response,
        what: &'static str,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let read = async {
            let mut bytes = Vec::new();
            while let Some(chunk) = response
                .chunk()
                .await
                .map_err(|error| self.unreachable(error))?
            {
                if (bytes.len() + chunk.len()) as u64 > limit {
                    return Err(RegistryError::TooLarge { what, limit });
                }
                bytes.extend_from_slice(&chunk);
            }
            Ok(bytes)
        };
        let read = tokio::time::timeout(SMALL_LIMIT, read).await;
        read.map_err(|_| self.slow(SMALL_LIMIT))?
    }

    /// Why a request was not answered with what was asked for.
    pub(super) async fn refusal(&self, response: Response) -> RegistryError {
        let status = response.status();
        let registry = response
            .url()
            .host_str()
            .filter(|_| !same_origin(response.url(), &self.base))
            .unwrap_or(self.registry())
            .to_owned();
        let retry_after = retry_after(response.headers());
        // An explanation that cannot be had is none.
        let body = self
            .small(response, "an explanation", MAX_ERROR_REPLY)
            .await;
        let message = shown(&body.unwrap_or_default());
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RegistryError::Denied {
                registry,
                repository: self.reference.repository().to_owned(),
                authenticated: self.access.credentials.is_some(),
                message,
            },
            StatusCode::TOO_MANY_REQUESTS => RegistryError::Limited {
                registry,
                retry_after,
                message,
            },
            status => RegistryError::Status {
                registry,
                status: status.as_u16(),
                message,
            },
        }
    }

    pub(super) fn unreachable(&self, error: reqwest::Error) -> RegistryError {
        RegistryError::Unreachable {
            registry: self.registry().to_owned(),
            // The addresses of blobs that are kept elsewhere are signed: they are secrets.
            source: error.without_url(),
        }
    }

    pub(super) fn protocol(&self, what: impl Into<String>) -> RegistryError {
        RegistryError::Protocol {
            registry: self.registry().to_owned(),
            what: what.into(),
        }
    }

    fn slow(&self, limit: Duration) -> RegistryError {
        RegistryError::Slow {
            registry: self.registry().to_owned(),
            limit,
        }
    }

    /// Where blobs of this repository come from, as a key: another registry's blobs are not taken
    /// for its own before they are verified.
    pub(super) fn address(&self) -> String {
        self.base.to_string()
    }
}

fn header(registry: &str, scheme: &str, secret: &str) -> Result<HeaderValue, RegistryError> {
    let value = HeaderValue::from_str(&format!("{scheme} {secret}"));
    let mut value = value.map_err(|_| RegistryError::Protocol {
        registry: registry.to_owned(),
        what: "its token holds control characters".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// How long a server wants us to wait; dates are not understood.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let seconds = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}
