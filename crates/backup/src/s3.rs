//! S3-compatible storage: requests are signed here and sent as they are.
//!
//! No object is larger than a chunk, so none has to be sent in parts.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use reqwest::{Client, Method, Response, StatusCode, Url};
use rusty_s3::actions::S3Action;
use rusty_s3::{Bucket, Credentials, UrlStyle};

use crate::error::BackupError;
use crate::target::Target;

/// How long a signature is good for.
const SIGNED_FOR: Duration = Duration::from_mins(5);
/// Time to open a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time without a byte on a connection.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Time for one request.
const REQUEST_LIMIT: Duration = Duration::from_mins(3);
/// How often a request that broke, or that the storage could not take just then, is made.
const TRIES: u32 = 4;
/// The pause after the first of them; each later one is twice as long.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest answer that is no object, in bytes: a list of a thousand names.
const MAX_ANSWER: usize = 4 << 20;

/// Where the storage is and how to get in.
#[derive(Clone)]
pub struct S3Settings {
    /// Its URL, without the bucket.
    pub endpoint: String,
    /// Its region; many that are not Amazon's do not care.
    pub region: String,
    /// The bucket, which is there.
    pub bucket: String,
    /// The name of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
}

// Written by hand to keep the key out of logs.
impl std::fmt::Debug for S3Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Settings")
            .field("endpoint", &self.endpoint)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

/// S3-compatible storage.
pub struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    client: Client,
}

impl S3 {
    /// Puts the settings together; nothing is sent yet.
    pub fn new(settings: &S3Settings) -> Result<Self, BackupError> {
        let wrong = |why: String| BackupError::Settings { why };
        let endpoint: Url = settings
            .endpoint
            .parse()
            .map_err(|_| wrong("its address is not a URL".to_owned()))?;
        let is_https = endpoint.scheme() == "https";
        let bucket = Bucket::new(
            endpoint,
            UrlStyle::Path,
            settings.bucket.clone(),
            settings.region.clone(),
        )
        .map_err(|error| wrong(error.to_string()))?;
        let mut client = Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_LIMIT)
            .timeout(REQUEST_LIMIT)
            // A signature is for one host.
            .redirect(reqwest::redirect::Policy::none())
            .tls_backend_preconfigured(tls(is_https)?);
        if !is_https {
            client = client.no_proxy();
        }
        Ok(Self {
            bucket,
            credentials: Credentials::new(&settings.access_key, &settings.secret_key),
            client: client.build().map_err(|error| wrong(error.to_string()))?,
        })
    }

    /// Makes a request until it goes through, or has broken too often. An answer that says that
    /// the request is at fault is not asked for again.
    async fn send<'a, A: S3Action<'a>>(
        &'a self,
        method: Method,
        action: impl Fn() -> A,
        body: Option<Bytes>,
        limit: usize,
    ) -> Result<Option<Bytes>, BackupError> {
        let mut pause = PAUSE;
        let mut tried = 1;
        loop {
            let url = action().sign(SIGNED_FOR);
            let mut request = self.client.request(method.clone(), url);
            if let Some(body) = &body {
                request = request.body(body.clone());
            }
            let failed = match request.send().await {
                Ok(response) => match answer(response, limit).await {
                    Err(error) if is_passing(&error) => error,
                    other => return other,
                },
                Err(source) => BackupError::Unreachable {
                    source: source.without_url(),
                },
            };
            if tried == TRIES {
                return Err(failed);
            }
            tracing::debug!(
                error = &failed as &dyn std::error::Error,
                "a request to the backup storage is made again"
            );
            tokio::time::sleep(pause).await;
            (pause, tried) = (pause * 2, tried + 1);
        }
    }
}

/// Whether the same request may go through a moment later.
fn is_passing(error: &BackupError) -> bool {
    match error {
        BackupError::Unreachable { .. } => true,
        BackupError::Refused { status, .. } => *status >= 500 || *status == 429,
        BackupError::Io { .. }
        | BackupError::Denied { .. }
        | BackupError::Settings { .. }
        | BackupError::NotFound { .. }
        | BackupError::Damaged { .. }
        | BackupError::TooNew { .. } => false,
    }
}

/// The body of an answer; `None` if there is no such object.
async fn answer(mut response: Response, limit: usize) -> Result<Option<Bytes>, BackupError> {
    let status = response.status();
    let limit = if status.is_success() {
        limit
    } else {
        MAX_ANSWER
    };
    let mut body = BytesMut::new();
    loop {
        let part = response.chunk().await;
        let part = part.map_err(|source| BackupError::Unreachable {
            source: source.without_url(),
        })?;
        let Some(part) = part else { break };
        if body.len() + part.len() > limit {
            return Err(BackupError::damaged("an object is too large"));
        }
        body.extend_from_slice(&part);
    }
    if status.is_success() {
        return Ok(Some(body.freeze()));
    }
    let code = error_code(&String::from_utf8_lossy(&body));
    match status {
        StatusCode::NOT_FOUND if code != "NoSuchBucket" => Ok(None),
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Err(BackupError::Denied { code }),
        _ => Err(BackupError::Refused {
            status: status.as_u16(),
            code,
        }),
    }
}

/// The texts of all elements of a name in a list of objects. Not all servers send all that the
/// specification has, so nothing else is looked at; our own names need no decoding but of `/`.
fn elements<'a>(document: &'a str, name: &str) -> impl Iterator<Item = String> + use<'a> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = document;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (text, after) = after.split_once(&close)?;
        rest = after;
        let text = text.replace("&lt;", "<").replace("&gt;", ">");
        let text = text.replace("&quot;", "\"").replace("&apos;", "'");
        Some(text.replace("&amp;", "&"))
    })
}

/// The word in an S3 error document, bounded and harmless.
fn error_code(document: &str) -> String {
    let code = document
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .map_or("no reason given", |(code, _)| code);
    code.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == ' ')
        .take(64)
        .collect()
}

/// Checks servers by the host's certificate authorities, if there will be any to check.
fn tls(needed: bool) -> Result<rustls::ClientConfig, BackupError> {
    let mut roots = rustls::RootCertStore::empty();
    if needed {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(BackupError::Settings {
                why: "this host has no certificate authorities".to_owned(),
            });
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the ring provider has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[async_trait]
impl Target for S3 {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), BackupError> {
        let action = || self.bucket.put_object(Some(&self.credentials), name);
        let put = self
            .send(Method::PUT, action, Some(bytes), MAX_ANSWER)
            .await?;
        // "Not found" of a write is of the bucket.
        put.map(drop).ok_or_else(|| BackupError::Refused {
            status: 404,
            code: "not found".to_owned(),
        })
    }

    async fn get(&self, name: &str, limit: usize) -> Result<Option<Bytes>, BackupError> {
        let action = || self.bucket.get_object(Some(&self.credentials), name);
        self.send(Method::GET, action, None, limit).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, BackupError> {
        let mut names = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let action = || {
                let mut action = self.bucket.list_objects_v2(Some(&self.credentials));
                action.with_prefix(prefix);
                if let Some(next) = &next {
                    action.with_continuation_token(next.as_str());
                }
                action
            };
            let body = self.send(Method::GET, action, None, MAX_ANSWER).await?;
            let body = body.unwrap_or_default();
            let text = String::from_utf8_lossy(&body);
            if !text.contains("ListBucketResult") {
                return Err(BackupError::damaged("the storage's list can't be read"));
            }
            let found = elements(&text, "Key").map(|name| name.replace("%2F", "/"));
            names.extend(found.filter(|name| name.starts_with(prefix)));
            match elements(&text, "NextContinuationToken").next() {
                Some(token) if next.as_ref() != Some(&token) => next = Some(token),
                Some(_) | None => return Ok(names),
            }
        }
    }

    async fn delete(&self, name: &str) -> Result<(), BackupError> {
        let action = || self.bucket.delete_object(Some(&self.credentials), name);
        self.send(Method::DELETE, action, None, MAX_ANSWER)
            .await
            .map(drop)
    }
}

#[cfg(test)]
mod test {
    use super::{elements, error_code};

    #[test]
    fn names_are_taken_from_a_list_whatever_else_is_in_it() {
        let list = "<ListBucketResult><Contents><Key>a/b</Key><Size>1</Size></Contents>\
                    <Contents><ETag>x</ETag><Key>a%2Fc</Key></Contents>\
                    <NextContinuationToken>1&amp;2</NextContinuationToken></ListBucketResult>";
        let keys: Vec<_> = elements(list, "Key").collect();
        assert_eq!(keys, ["a/b", "a%2Fc"]);
        let tokens: Vec<_> = elements(list, "NextContinuationToken").collect();
        assert_eq!(tokens, ["1&2"]);
        assert_eq!(elements("<Key>cut", "Key").count(), 0);
    }

    #[test]
    fn the_storages_word_is_taken_and_nothing_else() {
        let document = "<Error><Code>NoSuchBucket</Code><Message>x</Message></Error>";
        assert_eq!(error_code(document), "NoSuchBucket");
        assert_eq!(error_code("<Code>a\u{1b}[2J</Code>"), "a2J");
        assert_eq!(error_code("<html>"), "no reason given");
    }
}
