//! The addresses: one small range, the same for every user.
//!
//! ```text
//! 10.83.0.0/20 ─┬─ lower half  10.83.0.0/21   the network inside each user's namespace
//!               └─ upper half  10.83.8.0/21   pairs of addresses: the ways out, one a user
//! ```
//! Users are apart by their namespaces, so their networks may look alike: a machine's address is
//! unique among its user's. The host itself has routes to the ways out only.

use std::net::Ipv4Addr;

use bhatti_types::cidr::Cidr;
use bhatti_types::invalid::Invalid;

/// The range if nothing else is set.
pub const DEFAULT: &str = "10.83.0.0/20";

/// Longest prefix of a range: 125 machines a user and 64 users.
const LONGEST: u8 = 24;
/// Shortest prefix of a range: more would take from the host's routes for nothing.
const SHORTEST: u8 = 12;

/// The range that networks are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    all: Cidr,
}

/// The two addresses of a way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The host's end.
    pub host: Ipv4Addr,
    /// The namespace's end.
    pub inside: Ipv4Addr,
}

impl Pair {
    /// Bits of its prefix (RFC 3021).
    pub const LENGTH: u8 = 31;
}

impl Default for Range {
    fn default() -> Self {
        let all = Cidr::new(Ipv4Addr::new(10, 83, 0, 0), 20);
        Self {
            all: all.expect("the constant is well formed"),
        }
    }
}

impl Range {
    /// Uses a range, if it is private and of a fit size.
    pub fn new(all: Cidr) -> Result<Self, Invalid> {
        let invalid = |reason: String| Invalid::new("network range", &all.to_string(), reason);
        if !(SHORTEST..=LONGEST).contains(&all.length()) {
            return Err(invalid(format!(
                "its prefix must be from /{SHORTEST} to /{LONGEST}"
            )));
        }
        if !PRIVATE_USE.iter().any(|private| private.covers(all)) {
            return Err(invalid(
                "must lie in 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16".to_owned(),
            ));
        }
        Ok(Self { all })
    }

    /// All of it.
    pub fn all(self) -> Cidr {
        self.all
    }

    /// The network in each user's namespace.
    pub fn guests(self) -> Cidr {
        half(self.all, 0)
    }

    /// What the ways out are made of.
    pub fn links(self) -> Cidr {
        half(self.all, 1)
    }

    /// The gateway, and resolver, in each user's namespace.
    pub fn gateway(self) -> Ipv4Addr {
        nth(self.guests(), 1)
    }

    /// Addresses for machines: the first and the last.
    pub fn machines(self) -> (Ipv4Addr, Ipv4Addr) {
        let last = self.guests().last().to_bits() - 1;
        (nth(self.guests(), 2), Ipv4Addr::from_bits(last))
    }

    /// Whether an address is for a machine.
    pub fn is_machines(self, address: Ipv4Addr) -> bool {
        let (first, last) = self.machines();
        (first..=last).contains(&address)
    }

    /// The pairs of addresses for ways out.
    pub fn pairs(self) -> impl Iterator<Item = Pair> {
        let links = self.links();
        let count = (links.last().to_bits() - links.first().to_bits()).div_ceil(2);
        (0..count).map(move |index| Pair {
            host: nth(links, index * 2),
            inside: nth(links, index * 2 + 1),
        })
    }
}

/// Private use (RFC 1918).
const PRIVATE_USE: [Cidr; 3] = [
    bhatti_types::egress::PRIVATE[0],
    bhatti_types::egress::PRIVATE[2],
    bhatti_types::egress::PRIVATE[5],
];

fn half(all: Cidr, which: u32) -> Cidr {
    let length = all.length() + 1;
    let first = all.first().to_bits() | (which << (32 - length));
    Cidr::new(Ipv4Addr::from_bits(first), length).expect("a range has room for two halves")
}

fn nth(range: Cidr, index: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(range.first().to_bits() + index)
}

#[cfg(test)]
mod test {
    use super::{DEFAULT, Range};

    #[test]
    fn the_halves_of_the_default_hold_machines_and_ways_out() {
        let range = Range::default();
        assert_eq!(range.all().to_string(), DEFAULT);
        assert_eq!(range.guests().to_string(), "10.83.0.0/21");
        assert_eq!(range.links().to_string(), "10.83.8.0/21");
        assert_eq!(range.gateway().to_string(), "10.83.0.1");
        let (first, last) = range.machines();
        assert_eq!(first.to_string(), "10.83.0.2");
        assert_eq!(last.to_string(), "10.83.7.254");
        let pairs: Vec<_> = range.pairs().collect();
        assert_eq!(pairs.len(), 1024);
        assert_eq!(pairs[0].inside.to_string(), "10.83.8.1");
        assert_eq!(pairs[1023].inside, range.all().last());
    }

    #[test]
    fn a_range_that_is_public_or_of_no_fit_size_is_refused() {
        for text in ["8.8.8.0/24", "10.0.0.0/8", "10.0.0.0/25", "100.64.0.0/20"] {
            assert!(Range::new(text.parse().unwrap()).is_err(), "{text}");
        }
        assert!(Range::new("192.168.77.0/24".parse().unwrap()).is_ok());
    }
}
