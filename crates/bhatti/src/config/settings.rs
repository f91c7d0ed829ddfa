//! The values of the configuration, checked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use bhatti_client::endpoint::Endpoint;
use bhatti_client::token::BearerToken;
use bhatti_engine::config::{AcceleratorChoice, NetworkChoice, NetworkRange, StorageChoice};
use bhatti_types::cidr::Cidr;
use bhatti_types::idle::IdleTime;
use serde::{Deserialize, Deserializer};

use crate::config::backup::Backup;

/// All values. The names of the fields are those of the keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// URL of the daemon, for the client.
    #[serde(default, deserialize_with = "unless_empty")]
    pub(crate) api_url: Option<ApiUrl>,
    /// Token, for the client.
    #[serde(default, deserialize_with = "unless_empty")]
    pub(crate) auth_token: Option<AuthToken>,
    /// The data directory; a leading `~` has been replaced.
    pub(crate) data_dir: PathBuf,
    /// The engine.
    pub(crate) engine: EngineChoice,
    /// TCP address of the API, if it is to have one.
    #[serde(deserialize_with = "unless_empty")]
    pub(crate) listen: Option<Listen>,
    /// The accelerator.
    pub(crate) accelerator: AcceleratorChoice,
    /// The QEMU program.
    pub(crate) qemu: PathBuf,
    /// Where machines' files are kept.
    pub(crate) storage: StorageChoice,
    /// What is left free of the host's disk, in MiB, if it is set.
    #[serde(default, deserialize_with = "number_unless_empty")]
    pub(crate) disk_reserve_mb: Option<u64>,
    /// What machines that are awake may have together, in MiB, if it is set.
    #[serde(default, deserialize_with = "number_unless_empty")]
    pub(crate) memory_limit_mb: Option<u64>,
    /// Whether machines have networks.
    pub(crate) network: NetworkChoice,
    /// The range that networks are made of.
    #[serde(deserialize_with = "network_range")]
    pub(crate) network_range: NetworkRange,
    /// Resolvers for names outside.
    #[serde(default, deserialize_with = "separated")]
    pub(crate) network_dns: Vec<Resolver>,
    /// Private ranges that machines may be let into.
    #[serde(default, deserialize_with = "separated")]
    pub(crate) network_private: Vec<Cidr>,
    /// How much is logged.
    pub(crate) log_level: LogLevel,
    /// Whether users' requests are limited.
    pub(crate) rate_limit: bool,
    /// Most started clones of one template.
    pub(crate) pool: u16,
    /// Most templates.
    pub(crate) max_templates: u16,
    /// Until an idle sandbox is paused.
    pub(crate) idle_pause: IdleTime,
    /// Until a paused sandbox goes to disk.
    pub(crate) idle_cold: IdleTime,
    /// How long a request waits for a sandbox to wake.
    pub(crate) wake_limit: IdleTime,
    /// Where volumes are backed up to, and when.
    #[serde(default)]
    pub(crate) backup: Backup,
}

/// The engines there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineChoice {
    /// QEMU.
    Qemu,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    /// What failed.
    Error,
    /// And what is odd.
    Warn,
    /// And one line for each request.
    Info,
    /// And what it took.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// As the logging library has it.
    pub(crate) fn level(self) -> tracing::Level {
        match self {
            Self::Error => tracing::Level::ERROR,
            Self::Warn => tracing::Level::WARN,
            Self::Info => tracing::Level::INFO,
            Self::Debug => tracing::Level::DEBUG,
            Self::Trace => tracing::Level::TRACE,
        }
    }
}

/// A daemon's URL.
#[derive(Debug, Clone)]
pub(crate) struct ApiUrl(pub(crate) Endpoint);

impl FromStr for ApiUrl {
    type Err = bhatti_client::error::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// A token.
#[derive(Debug, Clone)]
pub(crate) struct AuthToken(pub(crate) BearerToken);

impl FromStr for AuthToken {
    type Err = bhatti_client::error::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        BearerToken::new(text).map(Self)
    }
}

/// A TCP address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listen(pub(crate) SocketAddr);

impl FromStr for Listen {
    type Err = String;

    /// Reads `ADDRESS:PORT`, `localhost:PORT`, or `:PORT` for all addresses.
    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("{text:?} must be ADDRESS:PORT, as in 127.0.0.1:8080");
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refuse)?;
        let port = port.parse().map_err(|_| refuse())?;
        match host {
            "" => Ok(Self((Ipv4Addr::UNSPECIFIED, port).into())),
            "localhost" => Ok(Self((Ipv4Addr::LOCALHOST, port).into())),
            _ => Err(refuse()),
        }
    }
}

/// A resolver: an address, with a port if it is not 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resolver(pub(crate) SocketAddr);

impl FromStr for Resolver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let address: IpAddr = text
            .parse()
            .map_err(|_| format!("{text:?} must be the address of a resolver, as in 9.9.9.9"))?;
        Ok(Self((address, 53).into()))
    }
}

/// Reads what stands between commas.
fn separated<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| part.parse().map_err(serde::de::Error::custom))
        .collect()
}

fn network_range<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NetworkRange, D::Error> {
    let range = String::deserialize(deserializer)?.parse::<Cidr>();
    range
        .and_then(NetworkRange::new)
        .map_err(serde::de::Error::custom)
}

/// Reads text; empty text is no value.
fn unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    match Option::<String>::deserialize(deserializer)?.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

/// Reads a whole number; empty text is no value.
fn number_unless_empty<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Number(u64),
        Text(String),
    }
    match Option::<Given>::deserialize(deserializer) {
        Ok(None) => Ok(None),
        Ok(Some(Given::Number(number))) => Ok(Some(number)),
        Ok(Some(Given::Text(text))) if text.is_empty() => Ok(None),
        // Serde says of an untagged one only that nothing fits.
        Ok(Some(Given::Text(_))) | Err(_) => {
            Err(serde::de::Error::custom("it must be a whole number"))
        }
    }
}

#[cfg(test)]
mod test {
    use super::Listen;

    #[test]
    fn addresses_to_listen_on_are_read_as_meant() {
        let read = |text: &str| text.parse::<Listen>().map(|listen| listen.0.to_string());
        assert_eq!(read("127.0.0.1:8080").unwrap(), "127.0.0.1:8080");
        assert_eq!(read(":8080").unwrap(), "0.0.0.0:8080");
        assert_eq!(read("localhost:0").unwrap(), "127.0.0.1:0");
        assert_eq!(read("[::1]:1").unwrap(), "[::1]:1");
        for text in [
            "8080",
            "example.com:1",
            "127.0.0.1",
            "127.0.0.1:99999",
            "::1:x",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
