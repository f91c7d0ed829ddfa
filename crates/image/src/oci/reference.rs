//! References: which image of which registry is meant.

use std::fmt;
use std::str::FromStr;

use bhatti_types::invalid::Invalid;
use serde::{Deserialize, Serialize};

use crate::layer::digest::Sha256Digest;

/// The registry that is meant where none is named.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Where that registry's API really is.
const DEFAULT_REGISTRY_HOST: &str = "registry-1.docker.io";
/// An older name of it.
const DEFAULT_REGISTRY_LEGACY: &str = "index.docker.io";
/// Where its official images are.
const OFFICIAL: &str = "library";
/// The tag that is meant where neither tag nor digest is named.
const DEFAULT_TAG: &str = "latest";
/// Longest registry and repository together, in bytes (the distribution specification).
const MAX_NAME: usize = 255;
/// Longest tag, in bytes (the distribution specification).
const MAX_TAG: usize = 128;

/// A reference to an image: `[registry/]repository[:tag][@digest]`.
///
/// As with Docker, the first part is a registry if it has a dot or a port or is `localhost`;
/// where there is none, Docker Hub is meant. Displays with nothing left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Sha256Digest>,
}

impl Reference {
    /// The registry's name, with its port if it was given.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Host and port of the registry's API.
    pub fn api_host(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY {
            DEFAULT_REGISTRY_HOST
        } else {
            &self.registry
        }
    }

    /// The repository's whole path, such as `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The last part of the repository's path, such as `alpine`.
    pub fn short_name(&self) -> &str {
        self.repository
            .rsplit_once('/')
            .map_or(self.repository.as_str(), |(_, last)| last)
    }

    /// The tag; `latest` where nothing was said. A reference by digest may have none.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if the reference names one.
    pub fn digest(&self) -> Option<&Sha256Digest> {
        self.digest.as_ref()
    }

    /// What the registry is asked for: the digest, or else the tag.
    pub(crate) fn version(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }
}

impl FromStr for Reference {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |reason: &str| Invalid::new("image reference", text, reason);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse::<Sha256Digest>();
                let digest = digest.map_err(|_| {
                    wrong("its digest must be `sha256:` and 64 hexadecimal digits in lower case")
                })?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon behind the last slash begins a tag; one before it, a port.
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if name.len() > MAX_NAME {
            return Err(wrong("is longer than 255 bytes"));
        }
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(wrong(
                "its tag may hold only letters, digits, `_`, `.` and `-`, and no more than 128",
            ));
        }
        let (registry, repository) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, name),
        };
        if !is_host(registry) {
            return Err(wrong("its registry must be HOST or HOST:PORT"));
        }
        if !repository.split('/').all(is_component) {
            return Err(wrong(
                "its name must be parts between `/` of lower-case letters and digits, with \
                 single `.`, `_`, `__` or `-` within",
            ));
        }
        let registry = match registry {
            DEFAULT_REGISTRY_LEGACY | DEFAULT_REGISTRY_HOST => DEFAULT_REGISTRY,
            registry => registry,
        };
        let official = registry == DEFAULT_REGISTRY && !repository.contains('/');
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some(DEFAULT_TAG.to_owned()),
        };
        Ok(Self {
            registry: registry.to_ascii_lowercase(),
            repository: if official {
                format!("{OFFICIAL}/{repository}")
            } else {
                repository.to_owned()
            },
            tag,
            digest,
        })
    }
}

/// Whether the first part of a name is a registry, by Docker's rule.
fn is_registry(first: &str) -> bool {
    first.contains(['.', ':', '[']) || first == "localhost" || first.contains(char::is_uppercase)
}

fn is_host(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) => {
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return false;
                }
                return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        let letters = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !label.is_empty() && letters && !label.starts_with('-') && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` of the distribution specification.
fn is_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    if !ends.is_some_and(|(&first, &last)| plain(first) && plain(last)) {
        return false;
    }
    bytes
        .split(|&byte| plain(byte))
        .all(|between| match between {
            b"" | b"." | b"_" | b"__" => true,
            dashes => dashes.iter().all(|&byte| byte == b'-'),
        })
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Reference {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod test {
    use super::Reference;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn what_is_left_out_is_filled_in_as_docker_does() {
        let by_digest = format!("ghcr.io/a/b@{DIGEST}");
        let both = format!("alpine:3.20@{DIGEST}");
        let both_whole = format!("docker.io/library/{both}");
        for (given, whole) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("me/app:v1", "docker.io/me/app:v1"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("host:5000/name", "host:5000/name:latest"),
            ("test.com:5000", "docker.io/library/test.com:5000"),
            ("GHCR.io/a/b", "ghcr.io/a/b:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("a__b/c-d--e.f_g", "docker.io/a__b/c-d--e.f_g:latest"),
            (&by_digest, &by_digest),
            (&both, &both_whole),
        ] {
            let reference: Reference = given.parse().unwrap();
            assert_eq!(reference.to_string(), whole, "{given}");
            assert_eq!(whole.parse::<Reference>().unwrap(), reference);
        }
    }

    #[test]
    fn the_digest_counts_where_there_is_a_tag_too() {
        let reference: Reference = format!("alpine:3.20@{DIGEST}").parse().unwrap();
        assert_eq!(reference.version(), DIGEST);
        assert_eq!(reference.short_name(), "alpine");
        assert_eq!(reference.api_host(), "registry-1.docker.io");
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        let long = "a".repeat(256);
        let long_tag = format!("a:{}", "b".repeat(129));
        for text in [
            "",
            ":tag",
            "a:",
            "a:b c",
            "a@sha256:12",
            "a@",
            "Alpine",
            "a//b",
            "/a",
            "a/",
            "../a",
            "a/../b",
            "a..b",
            "a___b",
            "-a",
            "host:0/a",
            "host:99999/a",
            "host:80x/a",
            "-h.io/a",
            "[::g]/a",
            "[::1/a",
            "user@host.io/a",
            "https://host.io/a",
            "a?b",
            "a b",
            "a\n",
            &long,
            &long_tag,
        ] {
            let parsed = text.parse::<Reference>();
            assert!(parsed.is_err(), "{text:?}: {parsed:?}");
        }
    }
}
