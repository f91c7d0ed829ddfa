//! Ranges of IPv4 addresses.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;

/// A range of IPv4 addresses, as text `ADDRESS/LENGTH`, or one address.
///
/// The bits behind the prefix are zero: `10.0.0.1/8` is refused, because whoever writes it means
/// something else than what would be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    first: Ipv4Addr,
    length: u8,
}

impl Cidr {
    /// The range of a prefix; `None` if it is longer than 32 bits or there are bits behind it.
    pub const fn new(first: Ipv4Addr, length: u8) -> Option<Self> {
        if length > 32 {
            return None;
        }
        let range = Self { first, length };
        if first.to_bits() & !range.mask_bits() == 0 {
            Some(range)
        } else {
            None
        }
    }

    /// Its first address.
    pub const fn first(self) -> Ipv4Addr {
        self.first
    }

    /// Its last address.
    pub const fn last(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() | !self.mask_bits())
    }

    /// Bits of its prefix, at most 32.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Its mask.
    pub const fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.mask_bits())
    }

    const fn mask_bits(self) -> u32 {
        match self.length {
            0 => 0,
            length => u32::MAX << (32 - length),
        }
    }

    /// Whether an address lies in it.
    pub const fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() & self.mask_bits() == self.first.to_bits()
    }

    /// Whether all of another lies in it.
    pub const fn covers(self, other: Self) -> bool {
        self.length <= other.length && self.contains(other.first)
    }

    /// Whether they have an address in common.
    pub const fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl FromStr for Cidr {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = |reason: &str| Invalid::new("address range", text, reason);
        let malformed = || invalid("must be an IPv4 address, or one with a prefix such as `/24`");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, length.parse().map_err(|_| malformed())?),
            None => (text, 32),
        };
        let address = address.parse().map_err(|_| malformed())?;
        if length > 32 {
            return Err(malformed());
        }
        Self::new(address, length).ok_or_else(|| invalid("has bits behind its prefix"))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

impl TryFrom<String> for Cidr {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(range: Cidr) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod test {
    use super::Cidr;

    fn range(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_range_has_its_ends_and_knows_what_lies_in_it() {
        let twenty = range("10.83.16.0/20");
        assert_eq!(twenty.last().to_string(), "10.83.31.255");
        assert_eq!(twenty.mask().to_string(), "255.255.240.0");
        assert!(twenty.contains(twenty.last()) && twenty.contains(twenty.first()));
        assert!(!twenty.contains("10.83.32.0".parse().unwrap()));
        assert!(twenty.overlaps(range("10.0.0.0/8")) && !twenty.covers(range("10.0.0.0/8")));
        assert!(range("0.0.0.0/0").contains("255.1.2.3".parse().unwrap()));
        assert!(!twenty.overlaps(range("10.83.0.0/20")));
        assert_eq!(range("9.9.9.9").to_string(), "9.9.9.9/32");
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "fd00::/8",
            "10.0.0.0/",
            "a/8",
            "10.0.0.0/-1",
        ] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
