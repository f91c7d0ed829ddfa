//! Where the daemon is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;

use crate::error::Error;

/// The address of a daemon's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A unix socket on this host.
    Unix(PathBuf),
    /// Plain HTTP.
    Http(Authority),
    /// HTTP over TLS.
    Https(Authority),
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// A host name or an address, without the brackets of an IPv6 address.
    pub host: String,
    /// A TCP port.
    pub port: u16,
}

impl Endpoint {
    /// What goes into the `Host` header.
    pub(crate) fn host_header(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Http(authority) if authority.port == 80 => authority.bracketed(),
            Self::Https(authority) if authority.port == 443 => authority.bracketed(),
            Self::Http(authority) | Self::Https(authority) => authority.to_string(),
        }
    }
}

impl Authority {
    fn bracketed(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.bracketed(), self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Http(_) => write!(f, "http://{}", self.host_header()),
            Self::Https(_) => write!(f, "https://{}", self.host_header()),
        }
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    /// Reads `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:///PATH`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |reason| Error::Url {
            given: text.to_owned(),
            reason,
        };
        if let Some(path) = text.strip_prefix("unix://") {
            if !path.starts_with('/') {
                return Err(refuse(
                    "the path of a socket must be absolute, as in unix:///run/x.sock",
                ));
            }
            return Ok(Self::Unix(PathBuf::from(path)));
        }
        let uri: Uri = text.parse().map_err(|_| refuse("it is not a URL"))?;
        let scheme = uri
            .scheme_str()
            .ok_or_else(|| refuse("it must begin with http:// or https://"))?;
        let default_port = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(refuse("it must begin with http:// or https://")),
        };
        if uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(refuse(
                "it may hold no user name or password; give the token apart",
            ));
        }
        if uri.query().is_some() || !matches!(uri.path(), "" | "/") {
            return Err(refuse("it must end after the host and the port"));
        }
        let bracketed = uri.host().unwrap_or_default();
        let host = bracketed
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(bracketed);
        if host.is_empty() {
            return Err(refuse("it names no host"));
        }
        // What follows the host: `Uri` itself passes over a port that is out of range.
        let rest = uri
            .authority()
            .and_then(|authority| authority.as_str().strip_prefix(bracketed));
        let port = match rest.unwrap_or_default().strip_prefix(':') {
            Some(port) => port
                .parse()
                .map_err(|_| refuse("the port must be a number up to 65535"))?,
            None => default_port,
        };
        let authority = Authority {
            host: host.to_owned(),
            port,
        };
        Ok(if scheme == "https" {
            Self::Https(authority)
        } else {
            Self::Http(authority)
        })
    }
}

#[cfg(test)]
mod test {
    use super::Endpoint;

    fn shown(text: &str) -> String {
        match text.parse::<Endpoint>() {
            Ok(endpoint) => endpoint.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn urls_are_shown_as_they_are_meant() {
        assert_eq!(shown("http://localhost:8080"), "http://localhost:8080");
        assert_eq!(shown("http://localhost:8080/"), "http://localhost:8080");
        assert_eq!(shown("https://api.example.com"), "https://api.example.com");
        assert_eq!(shown("https://[::1]:9"), "https://[::1]:9");
        assert_eq!(shown("http://[::1]"), "http://[::1]");
        assert_eq!(shown("unix:///run/bhatti.sock"), "unix:///run/bhatti.sock");
    }

    #[test]
    fn urls_that_mean_something_else_are_refused() {
        for text in [
            "",
            "localhost:8080",
            "/run/bhatti.sock",
            "ftp://x",
            "http://",
            "http://host:",
            "http://host:99999",
            "http://user:pw@host",
            "http://host/prefix",
            "http://host/?q",
            "unix://relative",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }
}
