//! What the engine asks of networks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use async_trait::async_trait;
use bhatti_types::egress::Egress;
use bhatti_types::id::{SandboxId, UserId};
use bhatti_types::mac::Mac;
use bhatti_types::name::SandboxName;

use crate::error::NetError;

/// What a machine's card is set up with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its address.
    pub address: Ipv4Addr,
    /// Bits of the network's prefix.
    pub prefix: u8,
    /// The way out.
    pub gateway: Ipv4Addr,
    /// The card's own address.
    pub mac: Mac,
    /// Longest packet, in bytes.
    pub mtu: u32,
    /// The resolver.
    pub dns: Ipv4Addr,
}

/// A machine's place in its user's network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seat {
    /// Whose network it is.
    pub user: UserId,
    /// Its address there.
    pub address: Ipv4Addr,
}

/// The machines that run, of each user that has any, running or not.
pub type Running = BTreeMap<UserId, BTreeMap<Ipv4Addr, Egress>>;

/// Networks of users. Each method can be repeated.
#[async_trait]
pub trait Networks: Send + Sync {
    /// What the card of a machine with this address is set up with.
    fn card(&self, address: Ipv4Addr) -> Card;

    /// The first and the last address for machines.
    fn addresses(&self) -> (Ipv4Addr, Ipv4Addr);

    /// Takes up what an earlier daemon left: networks of users that have machines are whole again
    /// and let in those that run, and all others are taken away.
    async fn take_up(&self, running: Running) -> Result<(), NetError>;

    /// Makes a tap for a machine, and its user's network if there is none. It hears and says
    /// nothing yet. It ends with the last copy of the descriptor.
    async fn plug(&self, seat: &Seat) -> Result<OwnedFd, NetError>;

    /// Makes a tap for a machine that is nobody's yet.
    async fn plug_stock(&self, machine: &SandboxId) -> Result<OwnedFd, NetError>;

    /// Moves the tap of a machine in stock to the place of its user.
    async fn hand_over(&self, machine: &SandboxId, seat: &Seat) -> Result<(), NetError>;

    /// Lets a machine that knows who it is into its user's network, under a policy; one that is in
    /// it gets the policy.
    async fn open(&self, seat: &Seat, egress: &Egress) -> Result<(), NetError>;

    /// Shuts a machine out. Its tap may be gone, and so may its user's network.
    async fn close(&self, seat: &Seat) -> Result<(), NetError>;

    /// Takes away the network of a user that has no machines. `is_unused` is asked when nobody
    /// else can be making one.
    async fn remove_if(
        &self,
        user: &UserId,
        is_unused: Box<dyn FnOnce() -> bool + Send>,
    ) -> Result<(), NetError>;

    /// The users that may have a network.
    fn users(&self) -> Vec<UserId>;

    /// What is there of this data directory's, for tests and diagnosis.
    async fn inventory(&self) -> Result<NetInventory, NetError>;

    /// Lets go of it all: what is made stays for the next daemon.
    async fn shut(&self);
}

/// What is on the host of a data directory's networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetInventory {
    /// Users with a namespace.
    pub namespaces: BTreeSet<UserId>,
    /// Users with a way out.
    pub links: BTreeSet<UserId>,
    /// Whether there are rules on the host.
    pub rules: bool,
}

/// Who is called what, now.
pub trait Names: Send + Sync {
    /// The address of the user's machine of that name, without regard to case unless there is one
    /// of exactly that name.
    fn address_of(&self, user: &UserId, name: &str) -> Option<Ipv4Addr>;

    /// The name of the user's machine of that address.
    fn name_at(&self, user: &UserId, address: Ipv4Addr) -> Option<SandboxName>;
}
