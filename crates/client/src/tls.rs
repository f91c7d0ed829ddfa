//! TLS, set up only when a URL asks for it: reading the host's certificate authorities takes
//! longer than everything else a command does.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::endpoint::{Authority, Endpoint};
use crate::error::Error;

/// Does the TLS handshake, checking the server's certificate by the host's authorities.
pub(crate) async fn wrap(
    endpoint: &Endpoint,
    authority: &Authority,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Error> {
    let name = ServerName::try_from(authority.host.clone()).map_err(|_| Error::ServerName {
        host: authority.host.clone(),
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the ring provider has cipher suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots()?)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|source| Error::Connect {
            endpoint: endpoint.clone(),
            source,
        })
}

/// The host's certificate authorities. Single ones that cannot be read are left out, as other
/// programs do; none at all is an error.
fn roots() -> Result<RootCertStore, Error> {
    let mut found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(Error::Authorities {
            source: found.errors.pop(),
        });
    }
    Ok(roots)
}
