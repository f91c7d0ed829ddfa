//! The HTTP client for registries.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::redirect::Policy;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use crate::proxies::Proxies;

/// Time limit for making a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Time limit for the next byte of a reply. Storage behind registries may have to fetch a blob
/// from elsewhere before it begins.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// Most redirects followed. Registries redirect once, to where they keep their blobs.
const MAX_REDIRECTS: usize = 5;
/// How long an idle connection is kept. Some load balancers forget theirs after a minute.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// How a registry is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// HTTPS, and nothing else: neither redirects nor token servers lead out of it.
    #[default]
    Tls,
    /// Plain HTTP: whoever is on the way reads and changes what is said, credentials included.
    /// Blobs are safe by their digests only if the reference names one.
    Plain,
}

impl Transport {
    pub(super) fn scheme(self) -> &'static str {
        match self {
            Self::Tls => "https",
            Self::Plain => "http",
        }
    }
}

/// What the client is to know of its surroundings.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Proxies to go through.
    pub proxies: Proxies,
    /// Certificates of authorities to be trusted besides those of the system, in PEM.
    pub extra_roots: Vec<Vec<u8>>,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A certificate is none.
    #[error("a certificate of an authority cannot be read")]
    Root(#[source] rustls::pki_types::pem::Error),
    /// A certificate cannot be used.
    #[error("a certificate of an authority cannot be used")]
    Certificate(#[source] rustls::Error),
    /// TLS could not be set up.
    #[error("failed to set up TLS")]
    Tls(#[source] rustls::Error),
    /// The address of a proxy is none, or the client could not be built.
    #[error("failed to set up the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// An HTTP client for registries, to be made once and shared.
#[derive(Debug, Clone)]
pub struct Client {
    tls: reqwest::Client,
    plain: reqwest::Client,
}

impl Client {
    /// Makes a client. Reads the system's certificates, which takes some milliseconds.
    pub fn new(options: &Options) -> Result<Self, ClientError> {
        let tls = tls_config(&options.extra_roots)?;
        let builder = || {
            let builder = reqwest::Client::builder()
                .user_agent(concat!("bhatti/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_LIMIT)
                .read_timeout(SILENCE_LIMIT)
                .pool_idle_timeout(POOL_IDLE)
                // Which host Authorization is not taken along to is reqwest's business: any other
                // origin. A test holds it to that.
                .redirect(Policy::limited(MAX_REDIRECTS))
                .referer(false)
                // Blobs are what they are on the wire; another crate may have the features on.
                .no_gzip()
                .no_brotli()
                .no_zstd()
                .no_deflate()
                .tls_backend_preconfigured(tls.clone());
            options.proxies.apply_to_client(builder)
        };
        let build = |builder: reqwest::ClientBuilder| builder.build().map_err(ClientError::Http);
        Ok(Self {
            tls: build(builder().map_err(ClientError::Http)?.https_only(true))?,
            plain: build(builder().map_err(ClientError::Http)?)?,
        })
    }

    pub(super) fn of(&self, transport: Transport) -> &reqwest::Client {
        match transport {
            Transport::Tls => &self.tls,
            Transport::Plain => &self.plain,
        }
    }
}

fn tls_config(extra_roots: &[Vec<u8>]) -> Result<rustls::ClientConfig, ClientError> {
    let mut roots = rustls::RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "some of the system's certificates could not be read"
        );
    }
    roots.add_parsable_certificates(native.certs);
    for pem in extra_roots {
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(ClientError::Root)?;
            roots.add(certificate).map_err(ClientError::Certificate)?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ClientError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Whether two addresses are of one origin: scheme, host and port.
pub(super) fn same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

#[cfg(test)]
mod test {
    use super::{Client, ClientError, Options};

    #[test]
    fn a_certificate_that_is_none_is_an_error() {
        let options = Options {
            extra_roots: vec![b"-----BEGIN CERTIFICATE-----\nAAA\n".to_vec()],
            ..Options::default()
        };
        let error = Client::new(&options).unwrap_err();
        assert!(matches!(error, ClientError::Root(_)), "{error:?}");
        Client::new(&Options::default()).unwrap();
    }
}
