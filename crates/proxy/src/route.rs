//! Which site a request is for. Pure.
//!
//! | request | site |
//! |---|---|
//! | host `ALIAS.<zone>`, `ALIAS.localhost` | that alias |
//! | another host that is a name | the one with this domain |
//! | host `localhost`, an address, or the zone itself, path `/ALIAS/…` | that alias, with the path's first part cut off |

use std::net::{IpAddr, Ipv6Addr};

use http::Uri;
use http::uri::PathAndQuery;

/// Longest alias, in bytes: a DNS label.
const MAX_LABEL: usize = 63;
/// Longest name of a host, in bytes (RFC 1035, 2.3.4).
const MAX_HOST: usize = 253;

/// Whom a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A site by its alias.
    Alias(String),
    /// A site by its alias in the path: with what is left of the path, and the part cut off.
    Path {
        /// The alias.
        alias: String,
        /// What the service is asked for.
        rest: PathAndQuery,
        /// What was cut off, such as `/web`.
        prefix: String,
    },
    /// A site by its alias in the path, which lacks its final slash: relative links would be wrong.
    AddSlash {
        /// The path it is to be asked by.
        location: String,
    },
    /// A site by a domain of its own.
    Domain(String),
    /// Nobody.
    Nobody,
}

/// Finds whom a request is for, by its host (with or without a port) and its address.
pub fn target(host: &str, uri: &Uri, zone: Option<&str>) -> Target {
    let Some(name) = name_of(host) else {
        return Target::Nobody;
    };
    if is_own(&name, zone) {
        return by_path(uri);
    }
    let label = zone
        .and_then(|zone| name.strip_suffix(zone)?.strip_suffix('.'))
        .or_else(|| name.strip_suffix(".localhost"));
    match label {
        Some(label) if is_label(label) => Target::Alias(label.to_owned()),
        Some(_) => Target::Nobody,
        None => Target::Domain(name),
    }
}

/// The name of a host in lower case, without its port and a final dot; `None` if it is none.
pub fn name_of(host: &str) -> Option<String> {
    if let Some(rest) = host.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        let port_follows = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return port_follows.then(|| address.to_string());
    }
    let name = match host.split_once(':') {
        None => host,
        Some((name, port)) if is_port(port) => name,
        Some(_) => return None,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let good = !name.is_empty() && name.len() <= MAX_HOST && name.bytes().all(allowed);
    good.then(|| name.to_ascii_lowercase())
}

fn is_port(text: &str) -> bool {
    text.is_empty() || (text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

/// Whether a host is the proxy itself, so that sites are told apart by their paths.
fn is_own(name: &str, zone: Option<&str>) -> bool {
    name == "localhost" || Some(name) == zone || name.parse::<IpAddr>().is_ok()
}

fn by_path(uri: &Uri) -> Target {
    let (alias, rest) = match uri.path().strip_prefix('/') {
        None => return Target::Nobody,
        Some(path) => match path.split_once('/') {
            Some((alias, rest)) => (alias, Some(rest)),
            None => (path, None),
        },
    };
    if !is_label(alias) {
        return Target::Nobody;
    }
    let query = uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    let Some(rest) = rest else {
        return Target::AddSlash {
            location: format!("/{alias}/{query}"),
        };
    };
    match format!("/{rest}{query}").parse() {
        Ok(rest) => Target::Path {
            alias: alias.to_owned(),
            rest,
            prefix: format!("/{alias}"),
        },
        Err(_) => Target::Nobody,
    }
}

/// Whether a text can be an alias.
pub fn is_label(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod test {
    use super::{Target, name_of, target};

    fn at(host: &str, path: &str) -> Target {
        target(host, &path.parse().unwrap(), Some("sb.example.com"))
    }

    #[test]
    fn hosts_below_the_zone_are_aliases() {
        let web = Target::Alias("web".to_owned());
        for host in [
            "web.sb.example.com",
            "WEB.sb.Example.com:443",
            "web.sb.example.com.",
            "web.localhost:8080",
        ] {
            assert_eq!(at(host, "/x"), web, "{host}");
        }
        for host in [
            "a.b.sb.example.com",
            "-web.sb.example.com",
            ".sb.example.com",
            "websb.example.com:x",
            "we b.sb.example.com",
            "web.sb.example.com:99999",
            "",
            "[::1",
            "[::1]x",
        ] {
            assert_eq!(at(host, "/x"), Target::Nobody, "{host}");
        }
        let domain = Target::Domain("websb.example.com".to_owned());
        assert_eq!(at("websb.example.com", "/"), domain);
    }

    #[test]
    fn where_the_host_tells_nothing_the_path_does() {
        for host in [
            "localhost:8080",
            "127.0.0.1",
            "[::1]:8080",
            "sb.example.com",
        ] {
            let found = at(host, "/web/a/../b?c=/d");
            let Target::Path {
                alias,
                rest,
                prefix,
            } = found
            else {
                panic!("{host}: {found:?}");
            };
            assert_eq!((alias.as_str(), prefix.as_str()), ("web", "/web"));
            assert_eq!(rest.as_str(), "/a/../b?c=/d");
        }
        let slash = Target::AddSlash {
            location: "/web/?q".to_owned(),
        };
        assert_eq!(at("localhost", "/web?q"), slash);
        for path in ["/", "/We/x", "//x", "*"] {
            assert_eq!(at("localhost", path), Target::Nobody, "{path}");
        }
    }

    #[test]
    fn a_name_is_its_host_in_lower_case() {
        assert_eq!(name_of("A.B:80").as_deref(), Some("a.b"));
        assert_eq!(name_of("[2001:DB8::1]:80").as_deref(), Some("2001:db8::1"));
        assert_eq!(name_of("a:b"), None);
    }
}
