//! Makes the network of one user, and takes it away. All of it can be repeated: what is there is
//! left, and what is missing is made.
//!
//! ```text
//!   host                          │ the user's namespace
//!   uplink ◄─ NAT ─ bhXXXXXXXXXXX ─┼─ up0 ◄─ NAT, policy ─ br0 ─┬─ tap83.0.2 ─ machine
//!                                 │            resolver ─┘     └─ tap83.0.3 ─ machine
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use bhatti_types::cidr::Cidr;
use bhatti_types::egress::Egress;
use bhatti_types::id::UserId;
use bhatti_types::mac::Mac;

use crate::error::NetError;
use crate::mark::{BRIDGE, Marks, UPLINK};
use crate::namespace::Namespace;
use crate::netlink::{Link, Netlink, Settings};
use crate::range::{Pair, Range};
use crate::rules::{host, user};
use crate::uplink::{self, Uplink};
use crate::{nft, sysctl};

/// Held by whichever daemon is changing what all on this host share.
const LOCK: &str = "/run/bhatti-net.lock";

/// What is to be made.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) marks: Marks,
    pub(crate) range: Range,
    pub(crate) private: Vec<Cidr>,
    pub(crate) user: UserId,
    pub(crate) mtu: u32,
    pub(crate) host: Namespace,
}

/// Sockets of the resolver, in the user's namespace.
pub(crate) struct Sockets {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

/// Makes the network, with these machines let in.
pub(crate) async fn make(
    wanted: &Wanted,
    machines: &BTreeMap<Ipv4Addr, Egress>,
) -> Result<(Namespace, Sockets), NetError> {
    let name = wanted.marks.namespace(&wanted.user);
    let namespace = blocking(move || Namespace::make(&name)).await?;
    // One at a time on this host: a way out is free until somebody has it.
    let lock = lock().await?;
    let pair = link(wanted, &namespace).await?;
    let (inside, rules) = (wanted.clone(), user::machines(machines));
    let sockets = namespace
        .run(move || async move { set_up(&inside, pair, rules).await })
        .await?;
    let on_host = wanted.clone();
    wanted
        .host
        .run(move || async move {
            let netlink = Netlink::open()?;
            renew_host(&netlink, &on_host.marks).await?;
            Uplink::look(&netlink, &on_host.private)
                .await?
                .forward()
                .await
        })
        .await?;
    drop(lock);
    Ok((namespace, sockets))
}

/// The way out: a pair of links, one end on the host.
async fn link(wanted: &Wanted, namespace: &Namespace) -> Result<Pair, NetError> {
    let name = wanted.marks.link(&wanted.user);
    let inside = namespace
        .run(|| async { Netlink::open()?.link(UPLINK).await })
        .await?;
    let (on_host, has_inside) = (wanted.clone(), inside.is_some());
    let found = wanted
        .host
        .run(move || async move {
            let netlink = Netlink::open()?;
            let Some(link) = own_link(&netlink, &on_host).await? else {
                return Ok(None);
            };
            if has_inside {
                return Ok(Some(link));
            }
            // Of an earlier namespace, which is gone.
            netlink.delete(&link).await?;
            Ok(None)
        })
        .await?;
    if found.is_none() {
        let (host, name) = (wanted.host.clone(), name.clone());
        namespace
            .run(move || async move {
                let netlink = Netlink::open()?;
                if let Some(half) = netlink.link(UPLINK).await? {
                    netlink.delete(&half).await?;
                }
                netlink.add_pair(UPLINK, &name).await?;
                let end = expect(&netlink, &name).await?;
                netlink.move_to(&end, &host, &name).await
            })
            .await?;
    }
    let on_host = wanted.clone();
    wanted
        .host
        .run(move || async move {
            let netlink = Netlink::open()?;
            let link = expect(&netlink, &name).await?;
            let pair = match pair_of(&netlink, &link, on_host.range).await? {
                Some(pair) => pair,
                None => uplink::free_pair(&netlink, on_host.range).await?,
            };
            for (setting, value) in [
                (format!("ipv6/conf/{name}/disable_ipv6"), "1"),
                (format!("ipv4/conf/{name}/rp_filter"), "1"),
                (format!("ipv4/conf/{name}/forwarding"), "1"),
            ] {
                sysctl::set_if_there(&setting, value)?;
            }
            let settings = Settings {
                alias: Some(on_host.marks.alias(&on_host.user)),
                mtu: Some(on_host.mtu),
                ..Settings::UP
            };
            netlink.add_address(&link, pair.host, Pair::LENGTH).await?;
            netlink.set(&link, settings).await?;
            Ok(pair)
        })
        .await
}

/// The host's end of the user's way out, if it is there and ours.
async fn own_link(netlink: &Netlink, wanted: &Wanted) -> Result<Option<Link>, NetError> {
    let name = wanted.marks.link(&wanted.user);
    let found = netlink.link(&name).await?;
    let alias = wanted.marks.alias(&wanted.user);
    match found {
        // One without an alias was cut off while it was made.
        Some(link) if link.alias.as_ref().is_some_and(|other| *other != alias) => {
            Err(NetError::Foreign { name })
        }
        found => Ok(found),
    }
}

async fn pair_of(netlink: &Netlink, link: &Link, range: Range) -> Result<Option<Pair>, NetError> {
    let addresses = netlink.addresses().await?;
    let has = |pair: &Pair| addresses.contains(&(link.index, pair.host));
    Ok(range.pairs().find(has))
}

async fn expect(netlink: &Netlink, name: &str) -> Result<Link, NetError> {
    let found = netlink.link(name).await?;
    found.ok_or_else(|| {
        let gone = std::io::Error::from_raw_os_error(libc::ENODEV);
        NetError::setting(format!("find link {name:?} again"))(gone)
    })
}

/// Everything inside of the namespace.
async fn set_up(wanted: &Wanted, pair: Pair, machines: String) -> Result<Sockets, NetError> {
    let (range, netlink) = (wanted.range, Netlink::open()?);
    for (setting, value) in [
        ("ipv6/conf/all/disable_ipv6", "1"),
        ("ipv6/conf/default/disable_ipv6", "1"),
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/all/rp_filter", "1"),
        ("ipv4/conf/all/accept_redirects", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
        // Where the module is loaded, frames between machines would be filtered twice.
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-arptables", "0"),
    ] {
        sysctl::set_if_there(setting, value)?;
    }
    let rules = format!("{}{machines}", user::base(range, &wanted.private));
    nft::apply(&format!("user {}", wanted.user), rules).await?;
    let loopback = expect(&netlink, "lo").await?;
    netlink.set(&loopback, Settings::UP).await?;
    netlink.add_bridge(BRIDGE).await?;
    let bridge = expect(&netlink, BRIDGE).await?;
    let (gateway, length) = (range.gateway(), range.guests().length());
    let settings = Settings {
        mtu: Some(wanted.mtu),
        mac: Some(Mac::of(gateway)),
        ..Settings::UP
    };
    netlink.add_address(&bridge, gateway, length).await?;
    netlink.set(&bridge, settings).await?;
    let uplink = expect(&netlink, UPLINK).await?;
    let settings = Settings {
        mtu: Some(wanted.mtu),
        ..Settings::UP
    };
    netlink
        .add_address(&uplink, pair.inside, Pair::LENGTH)
        .await?;
    netlink.set(&uplink, settings).await?;
    netlink.add_default_route(pair.host).await?;
    let bind = |source| NetError::setting(format!("listen for names on {gateway}"))(source);
    Ok(Sockets {
        udp: UdpSocket::bind((gateway, 53)).map_err(bind)?,
        tcp: TcpListener::bind((gateway, 53)).map_err(bind)?,
    })
}

/// The host's rules, for the ways out that are there; none if there is none.
pub(crate) async fn renew_host(netlink: &Netlink, marks: &Marks) -> Result<(), NetError> {
    let addresses = netlink.addresses().await?;
    let mut links = Vec::new();
    for link in netlink.links().await? {
        let Some(user) = marks.user_of_link(&link.name) else {
            continue;
        };
        if link.alias.as_ref() != Some(&marks.alias(&user)) {
            continue;
        }
        let address = addresses.iter().find(|(index, _)| *index == link.index);
        let Some((_, host)) = address else {
            continue;
        };
        let pair = Pair {
            host: *host,
            inside: Ipv4Addr::from_bits(host.to_bits() | 1),
        };
        links.push(host::Link {
            name: link.name,
            pair,
        });
    }
    let table = marks.host_table();
    let rules = if links.is_empty() {
        host::no_table(&table)
    } else {
        host::table(&table, &marks.link_prefix(), &links)
    };
    nft::apply("the host", rules).await
}

/// Takes away all of a user's network. What is gone is gone already.
pub(crate) async fn remove(wanted: &Wanted) -> Result<(), NetError> {
    let lock = lock().await?;
    let on_host = wanted.clone();
    wanted
        .host
        .run(move || async move {
            let netlink = Netlink::open()?;
            if let Some(link) = own_link(&netlink, &on_host).await? {
                netlink.delete(&link).await?;
            }
            renew_host(&netlink, &on_host.marks).await?;
            let brand = format!("{}:", crate::mark::BRAND);
            let others = netlink.links().await?.into_iter().any(|link| {
                link.alias
                    .as_ref()
                    .is_some_and(|alias| alias.starts_with(&brand))
            });
            if others {
                return Ok(());
            }
            uplink::stop_forwarding().await
        })
        .await?;
    drop(lock);
    let name = wanted.marks.namespace(&wanted.user);
    blocking(move || Namespace::remove(&name)).await
}

async fn lock() -> Result<File, NetError> {
    let taken = move || -> std::io::Result<File> {
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(LOCK)?
            .into_file();
        // Held for milliseconds, and given up by who dies.
        file.lock()?;
        Ok(file)
    };
    blocking(move || taken().map_err(NetError::setting(format!("lock {LOCK}")))).await
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetError> + Send + 'static,
) -> Result<T, NetError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        NetError::setting("finish work on a network")(std::io::Error::other(error))
    })?
}
