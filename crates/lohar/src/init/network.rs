//! Configures network interfaces by the classic socket ioctls (`netdevice(7)`, `rtentry` of
//! `<linux/route.h>`): a handful of fixed requests, for which netlink would be a library too many
//! in an agent of a few hundred kilobytes.

#![expect(unsafe_code, reason = "ioctls take C structures")]

use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

use bhatti_proto::message::Card;

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

/// Sets the network card up as it is told to be. Only what differs is changed, so that what goes
/// on after a sleep finds its addresses, routes and neighbours as they were.
pub fn set_up(card: &Card) -> io::Result<()> {
    let name = find_card()?;
    let mac: [u8; 6] = card.mac.as_ref().try_into().map_err(io::Error::other)?;
    let mask = u32::MAX.checked_shl(32 - card.prefix.min(32)).unwrap_or(0);
    let (address, mask) = (Ipv4Addr::from_bits(card.address), Ipv4Addr::from_bits(mask));
    let socket = socket()?;
    if hardware_address(&socket, &name)? != mac {
        // Takes the routes and neighbours of who it was with it.
        down(&socket, &name)?;
        set_hardware_address(&socket, &name, mac)?;
    }
    set_mtu(&socket, &name, card.mtu)?;
    if get_address(&socket, &name, libc::SIOCGIFADDR)? != Some(address) {
        set_address(&socket, &name, libc::SIOCSIFADDR, address)?;
    }
    if get_address(&socket, &name, libc::SIOCGIFNETMASK)? != Some(mask) {
        set_address(&socket, &name, libc::SIOCSIFNETMASK, mask)?;
    }
    // The host lets none of it through; a guest without it does not try. A kernel may have none.
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1");
    up(&socket, &name)?;
    add_default_route(&socket, Ipv4Addr::from_bits(card.gateway))
}

/// The network card: the interface that has a device. An image may give it a name of its own.
fn find_card() -> io::Result<String> {
    for entry in std::fs::read_dir("/sys/class/net")? {
        let entry = entry?;
        if entry.path().join("device").exists()
            && let Ok(name) = entry.file_name().into_string()
        {
            return Ok(name);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        "there is no network card",
    ))
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

fn get_address(
    socket: &UdpSocket,
    name: &str,
    operation: libc::Ioctl,
) -> io::Result<Option<Ipv4Addr>> {
    let mut request = request(name)?;
    // SAFETY: the operation fills in an `ifreq`, which lives through the call.
    match check(unsafe { libc::ioctl(socket.as_raw_fd(), operation as _, &raw mut request) }) {
        Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => return Ok(None),
        other => other?,
    }
    // SAFETY: the call above has filled the union in as an address, and both are plain C
    // structures of 16 bytes.
    let internet = unsafe {
        std::mem::transmute::<libc::sockaddr, libc::sockaddr_in>(request.ifr_ifru.ifru_addr)
    };
    Ok(Some(Ipv4Addr::from(internet.sin_addr.s_addr.to_ne_bytes())))
}

fn hardware_address(socket: &UdpSocket, name: &str) -> io::Result<[u8; 6]> {
    let mut request = request(name)?;
    let operation = libc::SIOCGIFHWADDR;
    // SAFETY: the operation fills in an `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), operation as _, &raw mut request) })?;
    // SAFETY: the call above has filled the union in as a hardware address.
    let found = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mut mac = [0; 6];
    for (to, from) in mac.iter_mut().zip(found.sa_data) {
        *to = from as u8;
    }
    Ok(mac)
}

fn set_hardware_address(socket: &UdpSocket, name: &str, mac: [u8; 6]) -> io::Result<()> {
    let mut request = request(name)?;
    // SAFETY: `sockaddr` is a C structure of integers; all zeros is a value.
    let mut address: libc::sockaddr = unsafe { zeroed() };
    address.sa_family = libc::ARPHRD_ETHER;
    for (to, from) in address.sa_data.iter_mut().zip(mac) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_hwaddr = address;
    let operation = libc::SIOCSIFHWADDR;
    // SAFETY: the operation reads an `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), operation as _, &raw mut request) })
}

fn set_mtu(socket: &UdpSocket, name: &str, mtu: u32) -> io::Result<()> {
    let mut request = request(name)?;
    let wanted = i32::try_from(mtu).map_err(io::Error::other)?;
    // SAFETY: the operation fills in an `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFMTU as _, &raw mut request) })?;
    // SAFETY: the call above has filled the union in as a number.
    if unsafe { request.ifr_ifru.ifru_mtu } == wanted {
        return Ok(());
    }
    request.ifr_ifru.ifru_mtu = wanted;
    // SAFETY: the operation reads an `ifreq`, which lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU as _, &raw mut request) })
}

fn up(socket: &UdpSocket, name: &str) -> io::Result<()> {
    set_flags(socket, name, |flags| {
        flags | libc::IFF_UP | libc::IFF_RUNNING
    })
}

fn down(socket: &UdpSocket, name: &str) -> io::Result<()> {
    set_flags(socket, name, |flags| flags & !libc::IFF_UP)
}

fn set_flags(
    socket: &UdpSocket,
    name: &str,
    change: impl FnOnce(libc::c_int) -> libc::c_int,
) -> io::Result<()> {
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
    let flags = unsafe { request.ifr_ifru.ifru_flags };
    request.ifr_ifru.ifru_flags = change(flags.into()) as libc::c_short;
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
