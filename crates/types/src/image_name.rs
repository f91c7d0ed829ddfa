//! The names of images.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::name::check;

/// Longest tag, in bytes: what registries allow.
pub const MAX_TAG: usize = 128;
/// The tag that is meant where none is given, and is never written.
const LATEST: &str = "latest";
/// What such a name is called in messages.
const WHAT: &str = "image name";

/// The name of an image: `name` or `name:tag`, such as `alpine:3.20`.
///
/// The name itself follows the rule of all other names, the tag that of registries. `name:latest`
/// is the same as `name` and is written so. Unique among one user's images, and among the host's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

impl ImageName {
    /// The name as text, with its tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name without its tag.
    pub fn name(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(name, _)| name)
    }

    /// The tag; `None` is `latest`.
    pub fn tag(&self) -> Option<&str> {
        self.0.split_once(':').map(|(_, tag)| tag)
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ImageName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let Some((name, tag)) = text.split_once(':') else {
            check(WHAT, text)?;
            return Ok(Self(text.to_owned()));
        };
        check(WHAT, name).map_err(|error| Invalid::new(WHAT, text, error.reason))?;
        check_tag(text, tag)?;
        Ok(Self(if tag == LATEST { name } else { text }.to_owned()))
    }
}

/// Checks `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
fn check_tag(text: &str, tag: &str) -> Result<(), Invalid> {
    let refuse = |reason: &str| Err(Invalid::new(WHAT, text, reason));
    let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    match tag.bytes().next() {
        None => return refuse("a tag must follow the `:`"),
        Some(b) if !first(b) => return refuse("a tag must begin with a letter, a digit or `_`"),
        Some(_) => {}
    }
    if tag.len() > MAX_TAG {
        return refuse("a tag must be at most 128 characters");
    }
    if !tag.bytes().all(|b| first(b) || matches!(b, b'.' | b'-')) {
        return refuse("a tag may hold only letters, digits, `.`, `_` and `-`");
    }
    Ok(())
}

impl TryFrom<String> for ImageName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

#[cfg(test)]
mod test {
    use super::ImageName;

    fn read(text: &str) -> Result<String, String> {
        let name = text.parse::<ImageName>();
        name.map(String::from).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_may_have_a_tag_and_latest_is_none() {
        assert_eq!(read("base").unwrap(), "base");
        assert_eq!(read("alpine:3.20").unwrap(), "alpine:3.20");
        assert_eq!(read("alpine:latest").unwrap(), "alpine");
        assert_eq!(read("a:_x-Y.1").unwrap(), "a:_x-Y.1");
        let name: ImageName = "alpine:3.20".parse().unwrap();
        assert_eq!((name.name(), name.tag()), ("alpine", Some("3.20")));
        let name: ImageName = "alpine:latest".parse().unwrap();
        assert_eq!((name.name(), name.tag()), ("alpine", None));
    }

    #[test]
    fn names_that_could_mislead_a_path_are_refused() {
        let long = format!("a:{}", "x".repeat(129));
        let refused = [
            "", ":", "a:", ":a", "a:b:c", "a/b", "a/b:c", "@a", ".a", "..", "a:.", "a:..", "a:-b",
            "a:b/c", "a: b", "a:b\n", &long,
        ];
        for text in refused {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert_eq!(
            read("a:").unwrap_err(),
            "invalid image name \"a:\": a tag must follow the `:`"
        );
    }
}
