//! Opening a connection to a daemon.

use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::endpoint::{Authority, Endpoint};
use crate::error::Error;
use crate::tls;

/// How long a connection may take to come about, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a dead peer is found while a command runs that says nothing for hours: first probe after
/// 30 s of silence, given up after three more without an answer.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(30))
    .with_interval(Duration::from_secs(10))
    .with_retries(3);

/// A connection, whatever is under it.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Opens a connection. Dropping the future gives it up.
pub(crate) async fn connect(endpoint: &Endpoint) -> Result<TokioIo<Box<dyn Io>>, Error> {
    let open = async {
        let io: Box<dyn Io> = match endpoint {
            Endpoint::Unix(path) => match UnixStream::connect(path).await {
                Ok(stream) => Box::new(stream),
                Err(source) => return Err(unix_error(endpoint, source)),
            },
            Endpoint::Http(authority) => Box::new(tcp(endpoint, authority).await?),
            Endpoint::Https(authority) => {
                let stream = tcp(endpoint, authority).await?;
                Box::new(tls::wrap(endpoint, authority, stream).await?)
            }
        };
        Ok(TokioIo::new(io))
    };
    match timeout(CONNECT_TIMEOUT, open).await {
        Ok(result) => result,
        Err(_) => Err(Error::Timeout {
            endpoint: endpoint.clone(),
            seconds: CONNECT_TIMEOUT.as_secs(),
        }),
    }
}

fn unix_error(endpoint: &Endpoint, source: io::Error) -> Error {
    let endpoint = endpoint.clone();
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Error::NotRunning { endpoint }
        }
        _ => Error::Connect { endpoint, source },
    }
}

async fn tcp(endpoint: &Endpoint, authority: &Authority) -> Result<TcpStream, Error> {
    let open = async {
        let stream = TcpStream::connect((authority.host.as_str(), authority.port)).await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
        Ok(stream)
    };
    open.await.map_err(|source| Error::Connect {
        endpoint: endpoint.clone(),
        source,
    })
}
