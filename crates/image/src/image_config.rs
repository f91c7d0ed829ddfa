//! How commands run in machines of an image: what its maker says about user, environment, program
//! and ports.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use bhatti_types::env::Env;
use bhatti_types::invalid::Invalid;
pub use bhatti_types::run::Init;
use serde::{Deserialize, Serialize};

/// The protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A port on which an image's program listens: `80/tcp`, or `80`, which is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ExposedPort {
    /// Its number; never 0.
    pub number: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl FromStr for ExposedPort {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("port", text, "must be like `80/tcp`");
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return Err(wrong()),
        };
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong());
        }
        match number.parse() {
            Ok(0) | Err(_) => Err(wrong()),
            Ok(number) => Ok(Self { number, protocol }),
        }
    }
}

impl fmt::Display for ExposedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol.as_str())
    }
}

impl TryFrom<String> for ExposedPort {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<ExposedPort> for String {
    fn from(port: ExposedPort) -> Self {
        port.to_string()
    }
}

/// How commands run in machines of an image, if nothing else is asked for.
///
/// Fields that came later than the first version of the manifest are left out where they say
/// nothing, so that old manifests and the digests of recipes stay what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// The user, as `user`, `uid`, `user:group` or `uid:gid`; root if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: Env,
    /// The directory; the user's home if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// The program that the image is for, and its first arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// The arguments after these, or the program where there is no entrypoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// The signal that ends the program: a number or a name, with or without `SIG`; `SIGTERM` if
    /// there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// What process 1 is.
    #[serde(default, skip_serializing_if = "Init::is_default")]
    pub init: Init,
    /// The ports on which the program listens.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exposed_ports: BTreeSet<ExposedPort>,
    /// Directories whose content is meant to outlive a machine.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub volumes: BTreeSet<String>,
    /// What else the image's maker says about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

#[cfg(test)]
mod test {
    use super::ExposedPort;

    #[test]
    fn a_port_without_a_protocol_is_tcp() {
        for (text, shown) in [("80", "80/tcp"), ("53/udp", "53/udp"), ("9/sctp", "9/sctp")] {
            assert_eq!(text.parse::<ExposedPort>().unwrap().to_string(), shown);
        }
        for text in [
            "", "0", "0/tcp", "65536", "80/", "80/TCP", "80-90", "-1/tcp", "+8",
        ] {
            let parsed = text.parse::<ExposedPort>();
            assert!(parsed.is_err(), "{text:?}: {parsed:?}");
        }
    }
}
