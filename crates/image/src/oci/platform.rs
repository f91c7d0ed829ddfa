//! Platforms: for which machines an image is made.

use std::fmt;
use std::str::FromStr;

use bhatti_types::invalid::Invalid;
use serde::{Deserialize, Serialize};

/// Longest part of a platform, in bytes.
const MAX_PART: usize = 32;

/// An operating system, an architecture and perhaps a variant of it: `linux/arm64/v8`.
///
/// Names are those of Go (`amd64`, `arm64`), as in all images; those of the kernel are
/// understood.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    os: String,
    arch: String,
    variant: Option<String>,
}

impl Platform {
    /// What this host runs.
    pub fn host() -> Self {
        Self::new("linux", std::env::consts::ARCH, None)
    }

    /// A platform with the names as they are in images.
    pub(crate) fn new(os: &str, arch: &str, variant: Option<&str>) -> Self {
        let arch = match arch {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            arch => arch,
        };
        Self {
            os: os.to_owned(),
            arch: arch.to_owned(),
            variant: variant.filter(|text| !text.is_empty()).map(str::to_owned),
        }
    }

    /// Its architecture.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    /// Its operating system.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// Its variant, if it names one.
    pub fn variant(&self) -> Option<&str> {
        self.variant.as_deref()
    }

    /// The number of its variant: that of the architecture's first where none is named. Of those
    /// that count upwards, a machine runs its own and all below.
    fn level(&self) -> Option<u32> {
        match (&self.variant, self.arch.as_str()) {
            (Some(variant), _) => variant.strip_prefix('v')?.parse().ok(),
            (None, "amd64") => Some(1),
            // Docker's rule: `arm64` is `arm64/v8`, and `arm` is `arm/v7`.
            (None, "arm64") => Some(8),
            (None, "arm") => Some(7),
            (None, _) => Some(0),
        }
    }

    /// How well an image for `offered` fits a machine of this platform: the higher the better,
    /// `None` if it does not run there.
    pub(crate) fn fit(&self, offered: &Self) -> Option<u32> {
        if self.os != offered.os || self.arch != offered.arch {
            return None;
        }
        if self.variant == offered.variant {
            return Some(u32::MAX);
        }
        let (wanted, offered) = (self.level()?, offered.level()?);
        (offered <= wanted).then_some(offered)
    }
}

impl FromStr for Platform {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let parts: Vec<_> = text.split('/').collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.len() <= MAX_PART
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        };
        match parts.as_slice() {
            [os, arch, rest @ ..] if rest.len() <= 1 && parts.iter().all(word) => {
                Ok(Self::new(os, arch, rest.first().copied()))
            }
            _ => Err(Invalid::new(
                "platform",
                text,
                "must be like `linux/amd64` or `linux/arm64/v8`",
            )),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.arch)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl TryFrom<String> for Platform {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

#[cfg(test)]
mod test {
    use super::Platform;

    fn fit(wanted: &str, offered: &str) -> Option<u32> {
        let wanted: Platform = wanted.parse().unwrap();
        wanted.fit(&offered.parse().unwrap())
    }

    #[test]
    fn a_machine_runs_its_variant_and_those_below() {
        assert!(fit("linux/arm64", "linux/arm64/v8").is_some());
        assert!(fit("linux/aarch64/v9", "linux/arm64/v8").is_some());
        assert!(fit("linux/x86_64", "linux/amd64").is_some());
        assert!(fit("linux/arm/v7", "linux/arm/v6") < fit("linux/arm/v7", "linux/arm/v7"));
        assert!(fit("linux/arm/v7", "linux/arm/v5") < fit("linux/arm/v7", "linux/arm/v6"));
        for (wanted, offered) in [
            ("linux/amd64", "linux/amd64/v3"),
            ("linux/arm64", "linux/arm64/v9"),
            ("linux/amd64", "linux/arm64"),
            ("linux/amd64", "windows/amd64"),
            ("linux/amd64", "unknown/unknown"),
        ] {
            assert_eq!(fit(wanted, offered), None, "{wanted} {offered}");
        }
    }

    #[test]
    fn what_is_no_platform_is_refused() {
        for text in [
            "",
            "linux",
            "linux/",
            "a/b/c/d",
            "linux/a b",
            "linux/amd64/",
        ] {
            assert!(text.parse::<Platform>().is_err(), "{text:?}");
        }
    }
}
