//! Connections to services in the guest.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bhatti_proto::codec::{self, MAX_MESSAGE};
use bhatti_proto::message::{RefusalKind, Reply};
use futures::io::AsyncWriteExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::compat::FuturesAsyncReadCompatExt as _;
use yamux::Stream;

/// Where a service may listen, in the order tried: most listen on both or on the first.
const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];
/// Time for a service to take a connection. Its queue may be full.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How much is carried at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// Connects to a port, says so, and carries bytes both ways until both ends have ended or one
/// has failed. `first` came with the request.
pub(crate) async fn carry(port: u32, mut stream: Stream, first: &[u8]) {
    let opened = open(port).await;
    let reply = match &opened {
        Ok(_) => Reply::done(),
        Err(refused) => refused.clone(),
    };
    if codec::write(&mut stream, &reply, MAX_MESSAGE)
        .await
        .is_err()
    {
        return;
    }
    let Ok(mut connection) = opened else {
        // Whoever asked may be gone.
        let _ = stream.close().await;
        return;
    };
    if connection.write_all(first).await.is_err() {
        return;
    }
    // A failure of either side ends both: dropping the stream resets it.
    let _ = tokio::io::copy_bidirectional_with_sizes(
        &mut connection,
        &mut stream.compat(),
        CHUNK,
        CHUNK,
    )
    .await;
}

async fn open(port: u32) -> Result<TcpStream, Reply> {
    let Ok(port @ 1..) = u16::try_from(port) else {
        let text = format!("{port} is not a port: it must be 1 to 65535");
        return Err(Reply::refused(RefusalKind::Invalid, text));
    };
    let mut refused = true;
    let mut last = io::Error::from(io::ErrorKind::ConnectionRefused);
    for address in LOOPBACK {
        let connect = TcpStream::connect(SocketAddr::new(address, port));
        match timeout(CONNECT_LIMIT, connect).await {
            Ok(Ok(connection)) => {
                // Small writes are small because somebody waits for them.
                let _ = connection.set_nodelay(true);
                return Ok(connection);
            }
            Ok(Err(error)) => {
                // A guest without IPv6 has no such address.
                let nothing_there = matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::AddrNotAvailable
                );
                refused &= nothing_there;
                if !nothing_there {
                    last = error;
                }
            }
            Err(_elapsed) => {
                refused = false;
                last = io::ErrorKind::TimedOut.into();
            }
        }
    }
    Err(if refused {
        let text = format!("nothing listens on port {port} in the guest");
        Reply::refused(RefusalKind::NotListening, text)
    } else {
        let text = format!("cannot connect to port {port} in the guest: {last}");
        Reply::refused(RefusalKind::Failed, text)
    })
}
