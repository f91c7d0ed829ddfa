//! Tap devices: a network card's other end, held by a descriptor.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Longest name of an interface: `IFNAMSIZ` without its NUL.
pub const NAME_MAX: usize = libc::IFNAMSIZ - 1;

/// Makes a tap device in the network namespace of this thread. It is down, belongs to nothing,
/// and is gone when the last copy of the descriptor is closed: what a killed daemon or a VMM
/// leaves of it is nothing.
///
/// There are no offloads and no header before a frame (`IFF_VNET_HDR`), so that to a guest it is
/// no other than a card that is plugged into nothing, and a state that was saved with one goes on
/// with the other.
///
/// # Errors
/// Of the kernel, such as `EBUSY` for a name that is taken.
pub fn open(name: &str) -> io::Result<OwnedFd> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains(['\0', '/', '%']) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not an interface's name",
        ));
    }
    let device = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let device = OwnedFd::from(device.into_file());
    set_interface(&device, name)?;
    Ok(device)
}

#[expect(unsafe_code, reason = "the ioctl takes a C structure")]
fn set_interface(device: &OwnedFd, name: &str) -> io::Result<()> {
    // SAFETY: `ifreq` is a C structure of integers and a union of such; all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the operation reads and writes an `ifreq`, which lives through the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod test {
    #[test]
    fn a_name_that_is_no_interfaces_is_refused() {
        for name in ["", "a-name-that-is-too-long", "a/b", "tap%d"] {
            assert!(super::open(name).is_err(), "{name}");
        }
    }
}
