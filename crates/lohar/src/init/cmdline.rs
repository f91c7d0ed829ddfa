//! The kernel's command line, as far as it is meant for the agent.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The words for the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// `bhatti.guest=1`: this is a guest.
    pub guest: bool,
    /// `bhatti.probe=1`: there is no disk, only the link is to answer.
    pub probe: bool,
    /// `bhatti.init=systemd`: the image's systemd is to be PID 1.
    pub systemd: bool,
    /// `bhatti.root=DEVICE`, `/dev/vda` if not given.
    pub root: PathBuf,
    /// `bhatti.hostname=NAME`.
    pub hostname: Option<String>,
    /// `ip=ADDRESS::GATEWAY:MASK:HOST:INTERFACE:off:DNS:DNS`.
    pub address: Option<Address>,
}

/// A network card's configuration, in the words of the kernel's
/// `Documentation/admin-guide/nfs/nfsroot.rst`. The kernel itself can't use it: its driver is a
/// module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The guest's address.
    pub address: Ipv4Addr,
    /// The default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// The network's mask.
    pub mask: Ipv4Addr,
    /// The interface.
    pub interface: String,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
}

impl CommandLine {
    /// Reads it from a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(Self::parse(&std::fs::read_to_string(path)?))
    }

    /// Reads it from text. Unknown words are for others.
    pub fn parse(text: &str) -> Self {
        let mut found = Self {
            guest: false,
            probe: false,
            systemd: false,
            root: PathBuf::from("/dev/vda"),
            hostname: None,
            address: None,
        };
        for word in text.split_whitespace() {
            let Some((key, value)) = word.split_once('=') else {
                continue;
            };
            match key {
                "bhatti.guest" => found.guest = value == "1",
                "bhatti.probe" => found.probe = value == "1",
                "bhatti.init" => found.systemd = value == "systemd",
                "bhatti.root" => found.root = PathBuf::from(value),
                "bhatti.hostname" => found.hostname = Some(value.to_owned()),
                "ip" => found.address = Address::parse(value),
                _ => {}
            }
        }
        found
    }
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(':').collect();
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        let interface = field(5);
        Some(Self {
            address: field(0).parse().ok()?,
            gateway: field(2).parse().ok(),
            mask: field(3).parse().ok()?,
            interface: if interface.is_empty() {
                "eth0"
            } else {
                interface
            }
            .to_owned(),
            dns: [field(7), field(8)]
                .iter()
                .filter_map(|dns| dns.parse().ok())
                .collect(),
        })
    }
}

#[cfg(test)]
mod test {
    use std::net::Ipv4Addr;

    use super::CommandLine;

    #[test]
    fn the_agents_words_are_read_among_others() {
        let text = "console=ttyS0 quiet bhatti.guest=1 bhatti.hostname=dev \
                    ip=10.1.0.2::10.1.0.1:255.255.255.0:dev:eth0:off:1.1.1.1:8.8.8.8\n";
        let found = CommandLine::parse(text);
        assert!(found.guest && !found.probe && !found.systemd);
        assert!(CommandLine::parse("bhatti.guest=1 bhatti.init=systemd").systemd);
        assert_eq!(found.hostname.as_deref(), Some("dev"));
        let address = found.address.unwrap();
        assert_eq!(address.address, Ipv4Addr::new(10, 1, 0, 2));
        assert_eq!(address.gateway, Some(Ipv4Addr::new(10, 1, 0, 1)));
        assert_eq!(address.interface, "eth0");
        assert_eq!(address.dns.len(), 2);
    }

    #[test]
    fn a_command_line_without_a_mark_is_no_guests() {
        assert!(!CommandLine::parse("root=/dev/sda1 ro ip=dhcp").guest);
        assert!(CommandLine::parse("ip=dhcp").address.is_none());
    }
}
