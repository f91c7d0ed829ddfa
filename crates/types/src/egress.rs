//! What a machine may reach outside of its user's own network.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;
use crate::invalid::Invalid;

/// What is let through in general.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EgressMode {
    /// The internet, and the private ranges that the host's administrator has opened.
    Open,
    /// The internet.
    #[default]
    Public,
    /// Nothing.
    Deny,
}

impl EgressMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Public, Self::Deny];

    /// The word as given, stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Public => "public",
            Self::Deny => "deny",
        }
    }
}

impl fmt::Display for EgressMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EgressMode {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        found.ok_or_else(|| {
            Invalid::new("egress policy", text, "must be `open`, `public` or `deny`")
        })
    }
}

/// Ranges that a policy adds.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Cidr>", into = "Vec<Cidr>")]
pub struct AllowedRanges(Vec<Cidr>);

/// What no machine reaches, whatever its policy says: "this" network, loopback, link-local with
/// the clouds' metadata service, groups, and what is reserved (RFC 6890).
pub const NEVER: [Cidr; 5] = [
    constant([0, 0, 0, 0], 8),
    constant([127, 0, 0, 0], 8),
    constant([169, 254, 0, 0], 16),
    constant([224, 0, 0, 0], 4),
    constant([240, 0, 0, 0], 4),
];

/// What is not the internet (RFC 6890): private networks, those of carriers, and ranges for
/// protocols, documentation and benchmarks.
pub const PRIVATE: [Cidr; 9] = [
    constant([10, 0, 0, 0], 8),
    constant([100, 64, 0, 0], 10),
    constant([172, 16, 0, 0], 12),
    constant([192, 0, 0, 0], 24),
    constant([192, 0, 2, 0], 24),
    constant([192, 168, 0, 0], 16),
    constant([198, 18, 0, 0], 15),
    constant([198, 51, 100, 0], 24),
    constant([203, 0, 113, 0], 24),
];

const fn constant(first: [u8; 4], length: u8) -> Cidr {
    let [a, b, c, d] = first;
    match Cidr::new(Ipv4Addr::new(a, b, c, d), length) {
        Some(range) => range,
        // Evaluated by the compiler only.
        None => unreachable!(),
    }
}

impl AllowedRanges {
    /// Most of them in one policy.
    pub const MAX: usize = 64;

    /// Checks ranges: not too many, and none that no policy can open. Sorted, each once, none
    /// within another.
    pub fn new(ranges: impl IntoIterator<Item = Cidr>) -> Result<Self, Invalid> {
        let mut kept: Vec<Cidr> = Vec::new();
        let mut ranges: Vec<Cidr> = ranges.into_iter().take(Self::MAX + 1).collect();
        if ranges.len() > Self::MAX {
            return Err(Invalid::new(
                "egress policy",
                "",
                format!("may allow at most {} ranges", Self::MAX),
            ));
        }
        ranges.sort_unstable();
        for range in ranges {
            if let Some(never) = NEVER.iter().find(|never| never.covers(range)) {
                return Err(Invalid::new(
                    "address range",
                    &range.to_string(),
                    format!("{never} is never let through"),
                ));
            }
            if !kept.iter().any(|kept| kept.covers(range)) {
                kept.push(range);
            }
        }
        Ok(Self(kept))
    }

    /// The ranges, sorted.
    pub fn ranges(&self) -> &[Cidr] {
        &self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<Cidr>> for AllowedRanges {
    type Error = Invalid;

    fn try_from(ranges: Vec<Cidr>) -> Result<Self, Invalid> {
        Self::new(ranges)
    }
}

impl From<AllowedRanges> for Vec<Cidr> {
    fn from(ranges: AllowedRanges) -> Self {
        ranges.0
    }
}

/// A machine's policy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Egress {
    /// What is let through in general.
    #[serde(default)]
    pub mode: EgressMode,
    /// What is let through besides.
    #[serde(default, skip_serializing_if = "AllowedRanges::is_empty")]
    pub allow: AllowedRanges,
}

/// A change of a policy. What is `None` stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EgressEdit {
    /// What is let through in general.
    pub mode: Option<EgressMode>,
    /// What is let through besides, in place of what was.
    pub allow: Option<AllowedRanges>,
}

impl EgressEdit {
    /// The policy after the change.
    #[must_use]
    pub fn onto(self, policy: Egress) -> Egress {
        Egress {
            mode: self.mode.unwrap_or(policy.mode),
            allow: self.allow.unwrap_or(policy.allow),
        }
    }

    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod test {
    use super::{AllowedRanges, Cidr, Egress, EgressMode};

    fn ranges(texts: &[&str]) -> Vec<Cidr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn ranges_are_sorted_and_what_lies_in_another_goes() {
        let allowed =
            AllowedRanges::new(ranges(&["10.1.0.0/16", "9.9.9.9", "10.0.0.0/8"])).unwrap();
        assert_eq!(allowed.ranges(), ranges(&["9.9.9.9/32", "10.0.0.0/8"]));
    }

    #[test]
    fn metadata_and_loopback_cannot_be_opened() {
        for text in [
            "169.254.169.254",
            "127.0.0.0/8",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(AllowedRanges::new(ranges(&[text])).is_err(), "{text}");
        }
        // All of it, which what is never let through is taken out of.
        assert!(AllowedRanges::new(ranges(&["0.0.0.0/0"])).is_ok());
    }

    #[test]
    fn a_policy_is_stored_as_text_and_an_unknown_one_is_refused() {
        let policy = Egress {
            mode: EgressMode::Deny,
            allow: AllowedRanges::new(ranges(&["10.0.0.0/8"])).unwrap(),
        };
        let text = serde_json::to_string(&policy).unwrap();
        assert_eq!(text, r#"{"mode":"deny","allow":["10.0.0.0/8"]}"#);
        assert_eq!(serde_json::from_str::<Egress>(&text).unwrap(), policy);
        assert!(serde_json::from_str::<Egress>(r#"{"mode":"most"}"#).is_err());
        assert_eq!(
            serde_json::from_str::<Egress>("{}").unwrap(),
            Egress::default()
        );
    }
}
