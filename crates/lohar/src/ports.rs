//! Which TCP ports are listened on, as the kernel shows it in `/proc/net/tcp` and `tcp6`
//! (`proc_net_tcp` in the kernel's documentation).

#![expect(
    clippy::disallowed_methods,
    reason = "files of the kernel's, in memory; the agent carries no fs-err"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use bhatti_proto::message::{ListeningPort, PortsReply};

/// Most ports told.
const MAX_PORTS: usize = 1024;
/// Most read of each table, in bytes. A line has about 150; listening sockets come first.
const MAX_TABLE: u64 = 1 << 20;
/// The state of a listening socket: `TCP_LISTEN` of the kernel's `net/tcp_states.h`.
const LISTEN: &str = "0A";

/// The listening sockets, as the tables in `net` (`/proc/net`) show them.
pub(crate) fn listening(net: &Path) -> io::Result<PortsReply> {
    let mut found = BTreeSet::new();
    for (table, needed) in [("tcp", true), ("tcp6", false)] {
        match read(&net.join(table)) {
            Ok(text) => found.extend(text.lines().filter_map(listener)),
            // A kernel without IPv6 has no such table.
            Err(error) if !needed && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let ports = found.into_iter().take(MAX_PORTS);
    let ports = ports.map(|(port, address)| ListeningPort {
        port: u32::from(port),
        address: address.to_string(),
    });
    Ok(PortsReply {
        ports: ports.collect(),
    })
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_TABLE)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// Port and address of a line, if it is of a listening socket.
fn listener(line: &str) -> Option<(u16, IpAddr)> {
    let mut words = line.split_ascii_whitespace();
    let (local, state) = (words.nth(1)?, words.nth(1)?);
    if state != LISTEN {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    Some((u16::from_str_radix(port, 16).ok()?, parse(address)?))
}

/// An address is shown as 32-bit words in the machine's own byte order.
fn parse(digits: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let word = u32::from_str_radix(digits.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    match digits.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod test {
    use std::net::TcpListener;
    use std::path::Path;

    use super::{listener, listening};

    #[test]
    fn lines_of_the_kernels_tables_are_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 0000 0 0 1";
        let (port, address) = listener(line).unwrap();
        assert_eq!((port, address.to_string().as_str()), (8080, "127.0.0.1"));
        let line = "   1: 00000000000000000000000001000000:0050 \
                    00000000000000000000000000000000:0000 0A 0:0";
        let (port, address) = listener(line).unwrap();
        assert_eq!((port, address.to_string().as_str()), (80, "::1"));
        for other in [
            "  sl  local_address rem_address   st tx_queue rx_queue",
            "   0: 0100007F:1F90 0100007F:E0D4 01 00000000:00000000",
            "   0: 0100007F 00000000:0000 0A",
            "   0: 0100007:1F90 00000000:0000 0A",
            "",
        ] {
            assert!(listener(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_socket_is_found_while_it_listens() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = u32::from(socket.local_addr().unwrap().port());
        let is_there = || {
            let found = listening(Path::new("/proc/net")).unwrap();
            found.ports.iter().any(|found| found.port == port)
        };
        assert!(is_there());
        drop(socket);
        assert!(!is_there());
    }
}
