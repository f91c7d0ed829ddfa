//! Links, addresses and routes, of the namespace that the thread is in.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd as _;

use bhatti_types::cidr::Cidr;
use bhatti_types::mac::Mac;
use futures::TryStreamExt as _;
use rtnetlink::packet_core::ErrorMessage;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkExtentMask, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteType};
use rtnetlink::{
    Error, Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use tokio::task::JoinHandle;

use crate::error::NetError;
use crate::namespace::Namespace;

/// A conversation with the kernel about one namespace.
pub(crate) struct Netlink {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// A link.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: Option<String>,
    pub(crate) mtu: u32,
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            alias: None,
            mtu: 0,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                // Of no interest here.
                _ => {}
            }
        }
        link
    }
}

/// What a link is to become.
pub(crate) struct Settings<'a> {
    pub(crate) name: Option<&'a str>,
    pub(crate) alias: Option<String>,
    pub(crate) mtu: Option<u32>,
    pub(crate) mac: Option<Mac>,
    pub(crate) bridge: Option<u32>,
    pub(crate) up: bool,
}

impl Settings<'_> {
    /// Nothing but this, and up.
    pub(crate) const UP: Self = Self {
        name: None,
        alias: None,
        mtu: None,
        mac: None,
        bridge: None,
        up: true,
    };
}

impl Netlink {
    /// Opens one, in the namespace of this thread; needs a runtime of its own.
    pub(crate) fn open() -> Result<Self, NetError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(NetError::setting("open a netlink socket"))?;
        Ok(Self {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// The link of this name.
    pub(crate) async fn link(&self, name: &str) -> Result<Option<Link>, NetError> {
        let mut links = self
            .handle
            .link()
            .get()
            .match_name(name.to_owned())
            .execute();
        match links.try_next().await {
            Ok(link) => Ok(link.map(Link::from)),
            Err(error) if is(&error, libc::ENODEV) => Ok(None),
            Err(error) => Err(NetError::netlink(format!("look up link {name:?}"))(error)),
        }
    }

    /// All links.
    pub(crate) async fn links(&self) -> Result<Vec<Link>, NetError> {
        let links = self.handle.link().get().set_filter_mask(
            AddressFamily::Unspec,
            // Without it the kernel counts a link's packets for everyone who looks.
            vec![LinkExtentMask::SkipStats],
        );
        let found: Vec<LinkMessage> = links
            .execute()
            .try_collect()
            .await
            .map_err(NetError::netlink("list links"))?;
        Ok(found.into_iter().map(Link::from).collect())
    }

    /// Makes a bridge. Success if there is one.
    pub(crate) async fn add_bridge(&self, name: &str) -> Result<(), NetError> {
        // No group traffic is let through, so there is nothing to learn of it.
        let bridge = LinkBridge::new(name).mcast_snooping(false);
        let added = self.handle.link().add(bridge.build()).execute().await;
        unless(added, libc::EEXIST).map_err(NetError::netlink(format!("make bridge {name:?}")))
    }

    /// Makes two links that are each other's end.
    pub(crate) async fn add_pair(&self, name: &str, peer: &str) -> Result<(), NetError> {
        let pair = LinkVeth::new(name, peer).build();
        self.handle
            .link()
            .add(pair)
            .execute()
            .await
            .map_err(NetError::netlink(format!(
                "make links {name:?} and {peer:?}"
            )))
    }

    /// Changes a link, at once in all that is set.
    pub(crate) async fn set(&self, link: &Link, settings: Settings<'_>) -> Result<(), NetError> {
        let mut message = LinkUnspec::new_with_index(link.index);
        if let Some(name) = settings.name {
            message = message.name(name);
        }
        if let Some(alias) = settings.alias {
            message = message.alias(alias);
        }
        if let Some(mtu) = settings.mtu {
            message = message.mtu(mtu);
        }
        if let Some(mac) = settings.mac {
            message = message.address(mac.octets().to_vec());
        }
        if let Some(bridge) = settings.bridge {
            message = message.controller(bridge);
        }
        if settings.up {
            message = message.up();
        }
        self.change(message, &link.name).await
    }

    /// Moves a link into another namespace, under a name there.
    pub(crate) async fn move_to(
        &self,
        link: &Link,
        to: &Namespace,
        name: &str,
    ) -> Result<(), NetError> {
        let message = LinkUnspec::new_with_index(link.index)
            .name(name)
            .setns_by_fd(to.file().as_raw_fd());
        self.change(message, &link.name).await
    }

    async fn change(
        &self,
        message: LinkMessageBuilder<LinkUnspec>,
        name: &str,
    ) -> Result<(), NetError> {
        self.handle
            .link()
            .change(message.build())
            .execute()
            .await
            .map_err(NetError::netlink(format!("change link {name:?}")))
    }

    /// Takes a link away. Success if it is gone.
    pub(crate) async fn delete(&self, link: &Link) -> Result<(), NetError> {
        let deleted = self.handle.link().del(link.index).execute().await;
        unless(deleted, libc::ENODEV)
            .map_err(NetError::netlink(format!("delete link {:?}", link.name)))
    }

    /// Gives a link an address. Success if it has it.
    pub(crate) async fn add_address(
        &self,
        link: &Link,
        address: Ipv4Addr,
        length: u8,
    ) -> Result<(), NetError> {
        let added = self
            .handle
            .address()
            .add(link.index, IpAddr::V4(address), length)
            .execute()
            .await;
        unless(added, libc::EEXIST).map_err(NetError::netlink(format!(
            "give link {:?} its address",
            link.name
        )))
    }

    /// All IPv4 addresses, with the index of the link that each belongs to.
    pub(crate) async fn addresses(&self) -> Result<Vec<(u32, Ipv4Addr)>, NetError> {
        let all = self.handle.address().get().execute();
        let found: Vec<_> = all
            .try_collect()
            .await
            .map_err(NetError::netlink("list addresses"))?;
        let mut addresses = Vec::new();
        for message in found {
            for attribute in &message.attributes {
                if let AddressAttribute::Local(IpAddr::V4(address)) = attribute {
                    addresses.push((message.header.index, *address));
                }
            }
        }
        Ok(addresses)
    }

    /// Makes a way out by a gateway. Success if there is one.
    pub(crate) async fn add_default_route(&self, gateway: Ipv4Addr) -> Result<(), NetError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(gateway)
            .build();
        let added = self.handle.route().add(route).execute().await;
        unless(added, libc::EEXIST).map_err(NetError::netlink("add the default route"))
    }

    /// The routes to IPv4 networks: ranges, and the index of the link that each leads to. The
    /// default route is one to `0.0.0.0/0`.
    pub(crate) async fn routes(&self) -> Result<Vec<(u32, Cidr)>, NetError> {
        let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let found: Vec<_> = self
            .handle
            .route()
            .get(all)
            .execute()
            .try_collect()
            .await
            .map_err(NetError::netlink("list routes"))?;
        let mut routes = Vec::new();
        for message in found {
            if message.header.kind != RouteType::Unicast
                || message.header.table == libc::RT_TABLE_LOCAL
            {
                continue;
            }
            let (mut first, mut link) = (Ipv4Addr::UNSPECIFIED, None);
            for attribute in &message.attributes {
                match attribute {
                    RouteAttribute::Destination(RouteAddress::Inet(address)) => first = *address,
                    RouteAttribute::Oif(index) => link = Some(*index),
                    // Of no interest here.
                    _ => {}
                }
            }
            let range = Cidr::new(first, message.header.destination_prefix_length);
            if let (Some(link), Some(range)) = (link, range) {
                routes.push((link, range));
            }
        }
        Ok(routes)
    }

    /// Tells a link who has an address, so that it is not asked for.
    pub(crate) async fn add_neighbour(
        &self,
        link: &Link,
        address: Ipv4Addr,
        mac: Mac,
    ) -> Result<(), NetError> {
        self.handle
            .neighbours()
            .add(link.index, IpAddr::V4(address))
            .link_layer_address(&mac.octets())
            .replace()
            .execute()
            .await
            .map_err(NetError::netlink(format!("note the neighbour {address}")))
    }
}

fn is(error: &Error, code: i32) -> bool {
    matches!(error, Error::NetlinkError(ErrorMessage { code: Some(found), .. }) if found.get() == -code)
}

fn unless(result: Result<(), Error>, code: i32) -> Result<(), Error> {
    match result {
        Err(error) if is(&error, code) => Ok(()),
        other => other,
    }
}
