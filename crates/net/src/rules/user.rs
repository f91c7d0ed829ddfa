//! The rules in a user's namespace.
//!
//! A machine is in these sets only from the moment that it knows who it is, and the rules let
//! nothing through that is in no set: what is not set up is closed. They hold for each packet and
//! not for each connection, so that a narrower policy ends what a wider one had let begin.
//!
//! Packets between two ports of the bridge are seen by the family `bridge` only, except where the
//! host has loaded `br_netfilter`: then they pass through `inet` too.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use bhatti_types::cidr::Cidr;
use bhatti_types::egress::{Egress, EgressMode, NEVER, PRIVATE};
use bhatti_types::mac::Mac;

use crate::mark::{self, BRIDGE, UPLINK};
use crate::range::Range;

/// The tables, of the families `bridge` and `inet`. Another number where sets change their type.
const TABLE: &str = "bhatti1";

/// What holds for all machines. Sets keep what they hold: those who run go on.
pub fn base(range: Range, private: &[Cidr]) -> String {
    let (gateway, guests) = (range.gateway(), range.guests());
    let (never, not_public, opened) = (list(&NEVER), list(&PRIVATE), private);
    // An empty set can't be written as one without elements.
    let opened = match opened {
        [] => String::new(),
        ranges => format!("elements = {{ {} }}", list(ranges)),
    };
    let mut text = String::new();
    for family in ["bridge", "inet"] {
        // Adding what is there does nothing, and flushing takes the rules and leaves the sets.
        let _ = writeln!(
            text,
            "table {family} {TABLE} {{ }}\nflush table {family} {TABLE}"
        );
    }
    let _ = write!(
        text,
        r#"
table bridge {TABLE} {{
  set members {{ type ifname . ether_addr . ipv4_addr; }}
  chain arriving {{
    type filter hook prerouting priority -300; policy drop;
    iifname "tap*" ether type arp iifname . ether saddr . arp saddr ip @members iifname . arp saddr ether . arp saddr ip @members arp operation {{ request, reply }} accept
    iifname "tap*" ether type ip ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 iifname . ether saddr . ip saddr @members ip daddr != {{ 0.0.0.0/8, 224.0.0.0/4, 240.0.0.0/4, {last} }} jump ports
  }}
  chain ports {{
    udp sport {{ 67, 68 }} drop
    udp dport {{ 67, 68 }} drop
    icmp type redirect drop
    accept
  }}
}}
table inet {TABLE} {{
  set open {{ type ipv4_addr; }}
  set public {{ type ipv4_addr; }}
  set allowed {{ type ipv4_addr . ipv4_addr; flags interval; }}
  set opened {{ type ipv4_addr; flags interval; auto-merge; {opened} }}
  chain entering {{
    type filter hook input priority filter; policy drop;
    iifname lo accept
    meta nfproto != ipv4 drop
    ct state established,related accept
    iifname "{BRIDGE}" ip saddr {guests} ip daddr {gateway} udp dport 53 accept
    iifname "{BRIDGE}" ip saddr {guests} ip daddr {gateway} tcp dport 53 accept
    iifname "{BRIDGE}" ip saddr {guests} ip daddr {gateway} icmp type echo-request limit rate 100/second accept
    iifname "{BRIDGE}" reject with icmpx admin-prohibited
  }}
  chain passing {{
    type filter hook forward priority filter; policy drop;
    meta nfproto != ipv4 drop
    iifname "{BRIDGE}" oifname "{BRIDGE}" accept
    iifname "{UPLINK}" oifname "{BRIDGE}" ct state established,related accept
    iifname "{BRIDGE}" oifname "{UPLINK}" ip saddr {guests} jump egress
  }}
  chain egress {{
    ct state invalid drop
    ip daddr {{ {all}, {never} }} goto refused
    ip saddr . ip daddr @allowed accept
    ip saddr @open ip daddr @opened accept
    ip daddr {{ {not_public} }} goto refused
    ip saddr @open accept
    ip saddr @public accept
    goto refused
  }}
  chain refused {{
    reject with icmpx admin-prohibited
  }}
  chain leaving {{
    type filter hook output priority filter; policy drop;
    oifname lo accept
    ct state established,related accept
  }}
  chain translating {{
    type nat hook postrouting priority srcnat;
    oifname "{UPLINK}" ip saddr {guests} masquerade
  }}
}}
"#,
        last = guests.last(),
        all = range.all(),
    );
    text
}

/// What the sets hold: the machines that know who they are, each with its policy. In place of all
/// that they held before.
pub fn machines(open: &BTreeMap<Ipv4Addr, Egress>) -> String {
    let addresses = |mode: EgressMode| {
        let of_mode = move |(address, egress): (&Ipv4Addr, &Egress)| {
            (egress.mode == mode).then(|| address.to_string())
        };
        open.iter().filter_map(of_mode).collect::<Vec<_>>()
    };
    let members = open.keys().map(|address| {
        let (tap, mac) = (mark::tap(*address), Mac::of(*address));
        format!("\"{tap}\" . {mac} . {address}")
    });
    let allowed = open.iter().flat_map(|(address, egress)| {
        let ranges = egress.allow.ranges().iter();
        ranges.map(move |range| format!("{address} . {range}"))
    });
    let mut text = String::new();
    for (family, set, elements) in [
        ("bridge", "members", members.collect()),
        ("inet", "open", addresses(EgressMode::Open)),
        ("inet", "public", addresses(EgressMode::Public)),
        ("inet", "allowed", allowed.collect()),
    ] {
        let _ = writeln!(text, "flush set {family} {TABLE} {set}");
        // An empty list of elements can't be written.
        if !elements.is_empty() {
            let elements = elements.join(", ");
            let _ = writeln!(text, "add element {family} {TABLE} {set} {{ {elements} }}");
        }
    }
    text
}

fn list(ranges: &[Cidr]) -> String {
    let texts: Vec<_> = ranges.iter().map(Cidr::to_string).collect();
    texts.join(", ")
}

#[cfg(test)]
mod test {
    use std::collections::BTreeMap;

    use bhatti_types::egress::{AllowedRanges, Egress, EgressMode};

    use super::{base, machines};
    use crate::range::Range;

    #[test]
    fn the_rules_of_a_users_namespace() {
        insta::assert_snapshot!(base(Range::default(), &[]));
    }

    #[test]
    fn ranges_that_the_administrator_opened_are_in_a_set() {
        let opened = [
            "10.1.0.0/16".parse().unwrap(),
            "10.9.0.0/16".parse().unwrap(),
        ];
        let text = base(Range::default(), &opened);
        assert!(
            text.contains("elements = { 10.1.0.0/16, 10.9.0.0/16 }"),
            "{text}"
        );
    }

    #[test]
    fn the_sets_of_machines_with_each_policy() {
        let policy = |mode, allow: &[&str]| Egress {
            mode,
            allow: AllowedRanges::new(allow.iter().map(|range| range.parse().unwrap())).unwrap(),
        };
        let open = BTreeMap::from([
            ([10, 83, 0, 2].into(), Egress::default()),
            ([10, 83, 0, 3].into(), policy(EgressMode::Open, &[])),
            (
                [10, 83, 0, 4].into(),
                policy(EgressMode::Deny, &["9.9.9.9", "1.1.1.0/24"]),
            ),
            ([10, 83, 0, 5].into(), Egress::default()),
        ]);
        insta::assert_snapshot!(machines(&open));
    }

    #[test]
    fn sets_without_machines_are_emptied() {
        insta::assert_snapshot!(machines(&BTreeMap::new()));
    }
}
