//! The rules on the host.
//!
//! What comes out of a user's namespace has the address of its way out, and goes on to where the
//! host's routes lead; it reaches no address of the host's own and no other user. Nothing gets in
//! but answers.

use std::fmt::Write as _;

use bhatti_types::cidr::Cidr;
use bhatti_types::egress::NEVER;

use crate::range::Pair;

/// The table of what all data directories on a host share.
pub const SHARED: &str = "bhatti_host";

/// A user's way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The host's end.
    pub name: String,
    /// Its addresses.
    pub pair: Pair,
}

/// The rules of a data directory, in place of those that were, and its users' ways out.
///
/// `prefix` is what the ways out of this data directory begin with.
pub fn table(name: &str, prefix: &str, links: &[Link]) -> String {
    let never = NEVER.map(|range| range.to_string()).join(", ");
    let ends = links
        .iter()
        .map(|link| format!("\"{}\" . {}", link.name, link.pair.inside));
    let inside = links.iter().map(|link| link.pair.inside.to_string());
    let (ends, inside) = (
        elements(&ends.collect::<Vec<_>>()),
        elements(&inside.collect::<Vec<_>>()),
    );
    format!(
        r#"table inet {name} {{ }}
delete table inet {name}
table inet {name} {{
  set ends {{ type ifname . ipv4_addr; {ends} }}
  set inside {{ type ipv4_addr; {inside} }}
  chain entering {{
    type filter hook input priority filter - 10; policy accept;
    iifname "{prefix}*" ct state established,related accept
    iifname "{prefix}*" reject with icmpx admin-prohibited
  }}
  chain passing {{
    type filter hook forward priority filter - 10; policy accept;
    oifname "{prefix}*" ct state established,related accept
    oifname "{prefix}*" drop
    iifname "{prefix}*" meta nfproto != ipv4 drop
    iifname "{prefix}*" iifname . ip saddr != @ends drop
    iifname "{prefix}*" ip daddr {{ {never} }} drop
  }}
  chain translating {{
    type nat hook postrouting priority srcnat;
    ip saddr @inside oifname != "{prefix}*" masquerade
  }}
}}
"#
    )
}

/// The elements of a new set; an empty list of them can't be written.
fn elements(elements: &[String]) -> String {
    match elements {
        [] => String::new(),
        elements => format!("elements = {{ {} }}", elements.join(", ")),
    }
}

/// Takes the rules of a data directory away.
pub fn no_table(name: &str) -> String {
    format!("table inet {name} {{ }}\ndelete table inet {name}\n")
}

/// Keeps an interface, of which bhatti has turned forwarding on, from forwarding anything but
/// what belongs to bhatti.
///
/// The host forwarded nothing of it before, so that there is nobody it could be taken from.
pub fn fence(interfaces: &[String]) -> String {
    let mut text = format!(
        r#"table inet {SHARED} {{
  set fenced {{ type ifname; }}
  chain passing {{
    type filter hook forward priority filter - 20; policy accept;
  }}
}}
flush chain inet {SHARED} passing
add rule inet {SHARED} passing iifname @fenced oifname != "bh*" drop
"#
    );
    for interface in interfaces {
        let _ = writeln!(
            text,
            "add element inet {SHARED} fenced {{ \"{interface}\" }}"
        );
    }
    text
}

/// Takes the fence away.
pub fn no_fence() -> String {
    no_table(SHARED)
}

/// Whether two lists of ranges have an address in common.
pub fn conflict(range: Cidr, routes: &[(String, Cidr)]) -> Option<&(String, Cidr)> {
    routes.iter().find(|(_, route)| route.overlaps(range))
}

#[cfg(test)]
mod test {
    use super::{Link, fence, table};
    use crate::range::Range;

    #[test]
    fn the_rules_of_a_host_with_two_users() {
        let links: Vec<_> = ["bh01234aaaaaaaa", "bh01234bbbbbbbb"]
            .into_iter()
            .zip(Range::default().pairs())
            .map(|(name, pair)| Link {
                name: name.to_owned(),
                pair,
            })
            .collect();
        insta::assert_snapshot!(table("bhatti_01234", "bh01234", &links));
    }

    #[test]
    fn the_fence_around_an_interface() {
        insta::assert_snapshot!(fence(&["eth0".to_owned()]));
    }
}
