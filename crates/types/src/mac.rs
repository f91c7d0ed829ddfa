//! Addresses of network cards.

use std::fmt;
use std::net::Ipv4Addr;

/// The address of a network card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// The card's address that goes with an IPv4 address in one user's network. One follows from
    /// the other, so that no neighbour ever remembers a wrong one.
    ///
    /// The first byte says that it is administered locally.
    pub const fn of(address: Ipv4Addr) -> Self {
        let [a, b, c, d] = address.octets();
        Self([0x0a, 0xb7, a, b, c, d])
    }

    /// The address of these bytes.
    pub const fn from_octets(octets: [u8; 6]) -> Self {
        Self(octets)
    }

    /// Its bytes.
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            write!(f, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod test {
    use super::Mac;

    #[test]
    fn a_cards_address_is_local_and_no_groups() {
        let mac = Mac::of([10, 83, 0, 7].into());
        assert_eq!(mac.to_string(), "0a:b7:0a:53:00:07");
        assert_eq!(mac.octets()[0] & 0b11, 0b10);
    }
}
