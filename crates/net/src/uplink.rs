//! The host's own part: where the default route leads, and that packets are passed on there.

use std::collections::BTreeSet;

use bhatti_types::cidr::Cidr;

use crate::error::NetError;
use crate::mark::BRAND;
use crate::netlink::Netlink;
use crate::range::{Pair, Range};
use crate::rules::host::{self, SHARED};
use crate::{nft, sysctl};

/// The MTU of a host that leads nowhere: Ethernet's.
const MTU: u32 = 1500;
/// The smallest MTU that a way out gets: every IPv4 host takes in so much (RFC 791).
const LEAST_MTU: u32 = 576;

/// What the host's routes say.
#[derive(Debug, Clone)]
pub(crate) struct Uplink {
    /// MTU of where the default route leads.
    pub(crate) mtu: u32,
    /// Interfaces by which packets come back.
    interfaces: BTreeSet<String>,
    /// Routes that are not ours, with their interfaces.
    routes: Vec<(String, Cidr)>,
}

impl Uplink {
    /// Looks at the host's routes.
    pub(crate) async fn look(netlink: &Netlink, private: &[Cidr]) -> Result<Self, NetError> {
        let links = netlink.links().await?;
        let mut uplink = Self {
            mtu: MTU,
            interfaces: BTreeSet::new(),
            routes: Vec::new(),
        };
        let mut mtu = None;
        for (index, range) in netlink.routes().await? {
            let Some(link) = links.iter().find(|link| link.index == index) else {
                continue;
            };
            let brand = format!("{BRAND}:");
            if link
                .alias
                .as_ref()
                .is_some_and(|alias| alias.starts_with(&brand))
            {
                continue;
            }
            let is_default = range.length() == 0;
            if is_default {
                let least: u32 = mtu.unwrap_or(u32::MAX);
                mtu = Some(least.min(link.mtu));
            } else {
                uplink.routes.push((link.name.clone(), range));
            }
            if is_default || private.iter().any(|private| private.overlaps(range)) {
                uplink.interfaces.insert(link.name.clone());
            }
        }
        if let Some(mtu) = mtu {
            uplink.mtu = mtu.clamp(LEAST_MTU, u32::from(u16::MAX));
        }
        Ok(uplink)
    }

    /// Refuses a range that the host has other routes to.
    pub(crate) fn check(&self, range: Range) -> Result<(), NetError> {
        match host::conflict(range.all(), &self.routes) {
            None => Ok(()),
            Some((interface, route)) => Err(NetError::Conflict {
                range: range.all(),
                route: *route,
                interface: interface.clone(),
            }),
        }
    }

    /// Has packets passed on that come back by these interfaces. One that passed on nothing
    /// before is fenced: it passes on what is bhatti's and nothing else.
    pub(crate) async fn forward(&self) -> Result<(), NetError> {
        let off: Vec<String> = self
            .interfaces
            .iter()
            .filter(|name| {
                let forwarding = sysctl::read(&forwarding(name));
                matches!(forwarding, Ok(Some(value)) if value == "0")
            })
            .cloned()
            .collect();
        if off.is_empty() {
            return Ok(());
        }
        nft::apply("the host", host::fence(&off)).await?;
        for name in off {
            sysctl::set(&forwarding(&name), "1")?;
        }
        Ok(())
    }
}

/// Takes the fence down where somebody else has turned forwarding on for the whole host: then it
/// is for them to say what is passed on.
pub(crate) async fn yield_fence() -> Result<(), NetError> {
    let everywhere = sysctl::read("ipv4/ip_forward")?.as_deref() == Some("1");
    if everywhere && has_fence().await? {
        tracing::info!("this host passes packets on for others too: bhatti's fence is taken down");
        nft::apply("the host", host::no_fence()).await?;
    }
    Ok(())
}

/// Puts things back as they were before the first network on this host.
pub(crate) async fn stop_forwarding() -> Result<(), NetError> {
    if !has_fence().await? {
        return Ok(());
    }
    if sysctl::read("ipv4/ip_forward")?.as_deref() == Some("0") {
        for name in fenced().await? {
            sysctl::set_if_there(&forwarding(&name), "0")?;
        }
    }
    nft::apply("the host", host::no_fence()).await
}

async fn has_fence() -> Result<bool, NetError> {
    Ok(nft::tables().await?.iter().any(|name| name == SHARED))
}

/// The interfaces that are fenced.
async fn fenced() -> Result<Vec<String>, NetError> {
    let text = nft::listed(&["set", "inet", SHARED, "fenced"]).await?;
    // Names stand between double quotes, which no interface's name has in it here.
    Ok(text
        .split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect())
}

fn forwarding(interface: &str) -> String {
    format!("ipv4/conf/{interface}/forwarding")
}

/// A way out that is not in use on this host, by whomever.
pub(crate) async fn free_pair(netlink: &Netlink, range: Range) -> Result<Pair, NetError> {
    let used: BTreeSet<_> = netlink
        .addresses()
        .await?
        .into_iter()
        .map(|(_, address)| address)
        .collect();
    let free = range.pairs().find(|pair| !used.contains(&pair.host));
    free.ok_or_else(|| NetError::Full {
        range: range.all(),
        pairs: range.pairs().count(),
    })
}
