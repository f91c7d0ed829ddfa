//! Configures network interfaces by the classic socket ioctls (`netdevice(7)`, `rtentry` of
//! `<linux/route.h>`): a handful of fixed requests, for which netlink would be a library too many
//! in an agent of a few hundred kilobytes.

#![expect(unsafe_code, reason = "ioctls take C structures")]

use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

use super::cmdline::Address;

/// Brings the loopback up; the kernel gives it its addresses.
pub fn loopback_up() -> io::Result<()> {
    up(&socket()?, "lo")
}

/// Gives an interface its address and route, and brings it up.
pub fn configure(address: &Address) -> io::Result<()> {
    let socket = socket()?;
    let name = &address.interface;
    set_address(&socket, name, libc::SIOCSIFADDR, address.address)?;
    set_address(&socket, name, libc::SIOCSIFNETMASK, address.mask)?;
    up(&socket, name)?;
    match address.gateway {
        Some(gateway) => add_default_route(&socket, gateway),
        None => Ok(()),
    }
}

/// Any IPv4 socket will do to address interfaces by.
fn socket() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    if name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not an interface's name",
        ));
    }
    // SAFETY: `ifreq` is a C structure of integers and a union of such; all zeros is a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    let internet = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(address.octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both are plain C structures of 16 bytes, and `sockaddr` is the general form of
    // `sockaddr_in` by definition of the sockets interface.
    unsafe { std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(internet) }
}

fn set_address(
    socket: &UdpSocket,
    name: &str,
    operation: libc::Ioctl,
    address: Ipv4Addr,
) -> io::Result<()> {
    let mut request = request(name)?;
    request.ifr_ifru.ifru_addr = socket_address(address);
    // SAFETY: the operation takes a pointer to an `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), operation as _, &raw mut request) })
}

fn up(socket: &UdpSocket, name: &str) -> io::Result<()> {
    let mut request = request(name)?;
    // SAFETY: the operation takes a pointer to an `ifreq`, which lives through the call.
    check(unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCGIFFLAGS as _,
            &raw mut request,
        )
    })?;
    // SAFETY: the call above has filled the union in as flags.
    unsafe { request.ifr_ifru.ifru_flags |= (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short };
    // SAFETY: as above.
    check(unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw mut request,
        )
    })
}

fn add_default_route(socket: &UdpSocket, gateway: Ipv4Addr) -> io::Result<()> {
    // SAFETY: `rtentry` is a C structure of integers and pointers; all zeros is a value.
    let mut route: libc::rtentry = unsafe { zeroed() };
    route.rt_dst = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_genmask = socket_address(Ipv4Addr::UNSPECIFIED);
    route.rt_gateway = socket_address(gateway);
    route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
    // SAFETY: the operation takes a pointer to an `rtentry`, which lives through the call.
    match check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCADDRT as _, &raw mut route) }) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        other => other,
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use std::net::Ipv4Addr;

    #[test]
    fn an_address_lies_where_the_kernel_looks_for_it() {
        let address = super::socket_address(Ipv4Addr::new(10, 1, 2, 3));
        // The first two bytes of the data are the port.
        let data: Vec<u8> = address.sa_data[2..6]
            .iter()
            .map(|byte| *byte as u8)
            .collect();
        assert_eq!(data, [10, 1, 2, 3]);
    }

    #[test]
    fn a_name_too_long_for_an_interface_is_refused() {
        assert!(super::request("a-name-that-is-too-long").is_err());
        assert!(super::request("eth0").is_ok());
    }
}
