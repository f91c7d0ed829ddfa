//! Networks on this host.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bhatti_host::command::CommandError;
use bhatti_host::tap;
use bhatti_types::egress::Egress;
use bhatti_types::id::{DataDirId, SandboxId, UserId};
use bhatti_types::mac::Mac;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::NetError;
use crate::mark::{self, BRIDGE, Marks};
use crate::namespace::Namespace;
use crate::netlink::{Netlink, Settings};
use crate::networks::{Card, Names, NetInventory, Networks, Running, Seat};
use crate::nft;
use crate::resolver::server::{Modes, Resolver};
use crate::resolver::upstream::Upstreams;
use crate::rules::user;
use crate::settings::NetworkSettings;
use crate::uplink::{self, Uplink};
use crate::user_network::{self, Wanted, blocking};

/// How often it is looked whether others have changed what all on this host share.
const LOOK: Duration = Duration::from_secs(20);

/// Why there are no networks on this host.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// The daemon may not make them.
    #[error("the daemon does not run as root")]
    NotRoot,
    /// There is no `nft`.
    #[error("nftables is not installed")]
    NoNft,
    /// `nft` or the kernel refuses.
    #[error("nftables cannot be used")]
    Nft(#[source] CommandError),
    /// The host's network can't be read, or is in the way.
    #[error(transparent)]
    Net(NetError),
}

/// Networks of a data directory's users.
pub struct HostNetworks {
    marks: Marks,
    settings: NetworkSettings,
    host: Namespace,
    mtu: u32,
    names: Arc<dyn Names>,
    upstreams: Arc<Upstreams>,
    users: Mutex<BTreeMap<UserId, Arc<tokio::sync::Mutex<User>>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// One user's network, as far as this daemon knows it.
#[derive(Default)]
struct User {
    made: Option<Made>,
    /// The machines that are let in.
    open: BTreeMap<Ipv4Addr, Egress>,
    /// The same, for the resolver.
    modes: Modes,
}

struct Made {
    namespace: Namespace,
    resolver: CancellationToken,
    tasks: TaskTracker,
}

impl Made {
    /// Ends the resolver, whose sockets would hold the namespace.
    async fn shut(self) {
        self.resolver.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl HostNetworks {
    /// Sees whether this host can have networks, and makes what all users share.
    pub async fn open(
        data_dir: DataDirId,
        settings: NetworkSettings,
        names: Arc<dyn Names>,
    ) -> Result<Self, Unfit> {
        if !nix::unistd::geteuid().is_root() {
            return Err(Unfit::NotRoot);
        }
        nft::check().await.map_err(|error| match error {
            CommandError::NotFound { .. } => Unfit::NoNft,
            other => Unfit::Nft(other),
        })?;
        let host = Namespace::current().map_err(Unfit::Net)?;
        let (range, private) = (settings.range, settings.private.clone());
        let look = move || async move {
            let uplink = Uplink::look(&Netlink::open()?, &private).await?;
            uplink.check(range)?;
            Ok(uplink)
        };
        let uplink = host.run(look).await.map_err(Unfit::Net)?;
        let networks = Self {
            marks: Marks::new(data_dir),
            host,
            mtu: uplink.mtu,
            names,
            upstreams: Arc::new(Upstreams::new(settings.dns.clone())),
            settings,
            users: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        networks
            .tasks
            .spawn(watch(networks.host.clone(), networks.stop.clone()));
        Ok(networks)
    }

    fn user(&self, user: &UserId) -> Arc<tokio::sync::Mutex<User>> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.entry(user.clone()).or_default().clone()
    }

    fn wanted(&self, user: &UserId) -> Wanted {
        Wanted {
            marks: self.marks.clone(),
            range: self.settings.range,
            private: self.settings.private.clone(),
            user: user.clone(),
            mtu: self.mtu,
            host: self.host.clone(),
        }
    }

    /// The user's namespace, made if it is not there.
    async fn ensure(&self, user: &UserId, state: &mut User) -> Result<Namespace, NetError> {
        if let Some(made) = &state.made {
            return Ok(made.namespace.clone());
        }
        let (namespace, sockets) = user_network::make(&self.wanted(user), &state.open).await?;
        let made = Made {
            namespace: namespace.clone(),
            resolver: self.stop.child_token(),
            tasks: TaskTracker::new(),
        };
        let resolver = Resolver {
            user: user.clone(),
            range: self.settings.range,
            names: self.names.clone(),
            modes: state.modes.clone(),
            upstreams: self.upstreams.clone(),
            stop: made.resolver.clone(),
            tasks: made.tasks.clone(),
        };
        resolver
            .start(sockets)
            .map_err(NetError::setting("listen for names"))?;
        state.made = Some(made);
        Ok(namespace)
    }

    async fn remove(&self, user: &UserId, state: &mut User) -> Result<(), NetError> {
        if let Some(made) = state.made.take() {
            made.shut().await;
        }
        state.open.clear();
        state.modes.set(&state.open);
        user_network::remove(&self.wanted(user)).await
    }

    /// Tells the kernel who is let in.
    async fn let_in(
        user: &UserId,
        open: &BTreeMap<Ipv4Addr, Egress>,
        joined: Option<Ipv4Addr>,
        namespace: &Namespace,
    ) -> Result<(), NetError> {
        let (rules, place) = (user::machines(open), format!("user {user}"));
        namespace
            .run(move || async move {
                nft::apply(&place, rules).await?;
                match joined {
                    Some(address) => join(address).await,
                    None => Ok(()),
                }
            })
            .await
    }
}

/// Puts a machine's tap into the bridge. The rules know it already.
async fn join(address: Ipv4Addr) -> Result<(), NetError> {
    let netlink = Netlink::open()?;
    let name = mark::tap(address);
    let (Some(bridge), Some(tap)) = (netlink.link(BRIDGE).await?, netlink.link(&name).await?)
    else {
        let gone = std::io::Error::from_raw_os_error(libc::ENODEV);
        return Err(NetError::Tap { name, source: gone });
    };
    let settings = Settings {
        mtu: Some(bridge.mtu),
        bridge: Some(bridge.index),
        ..Settings::UP
    };
    netlink.set(&tap, settings).await?;
    // The gateway need not ask who has the address, for it is always the same card's.
    netlink
        .add_neighbour(&bridge, address, Mac::of(address))
        .await
}

/// The name of a tap that is nobody's yet.
fn stock_tap(machine: &SandboxId) -> String {
    let digits = machine.as_str().trim_start_matches(SandboxId::PREFIX);
    digits
        .chars()
        .take(tap::NAME_MAX - 1)
        .fold("s".to_owned(), |name, digit| {
            name + digit.encode_utf8(&mut [0; 4])
        })
}

async fn make_tap(namespace: &Namespace, name: String) -> Result<OwnedFd, NetError> {
    let make =
        move || async move { tap::open(&name).map_err(|source| NetError::Tap { name, source }) };
    namespace.run(make).await
}

#[async_trait]
impl Networks for HostNetworks {
    fn card(&self, address: Ipv4Addr) -> Card {
        let range = self.settings.range;
        Card {
            address,
            prefix: range.guests().length(),
            gateway: range.gateway(),
            mac: Mac::of(address),
            mtu: self.mtu,
            dns: range.gateway(),
        }
    }

    fn addresses(&self) -> (Ipv4Addr, Ipv4Addr) {
        self.settings.range.machines()
    }

    async fn take_up(&self, running: Running) -> Result<(), NetError> {
        for user in self.inventory().await?.users() {
            if !running.contains_key(&user) {
                let state = self.user(&user);
                self.remove(&user, &mut *state.lock().await).await?;
            }
        }
        // No clone in stock outlives its daemon.
        let stock = self.marks.stock_namespace();
        blocking(move || Namespace::remove(&stock)).await?;
        for (user, machines) in running {
            let state = self.user(&user);
            let mut state = state.lock().await;
            state.open = machines;
            state.modes.set(&state.open);
            if !state.open.is_empty() {
                self.ensure(&user, &mut state).await?;
            }
        }
        Ok(())
    }

    async fn plug(&self, seat: &Seat) -> Result<OwnedFd, NetError> {
        let state = self.user(&seat.user);
        let mut state = state.lock().await;
        let namespace = self.ensure(&seat.user, &mut state).await?;
        make_tap(&namespace, mark::tap(seat.address)).await
    }

    async fn plug_stock(&self, machine: &SandboxId) -> Result<OwnedFd, NetError> {
        let name = self.marks.stock_namespace();
        let namespace = blocking(move || Namespace::make(&name)).await?;
        make_tap(&namespace, stock_tap(machine)).await
    }

    async fn hand_over(&self, machine: &SandboxId, seat: &Seat) -> Result<(), NetError> {
        let state = self.user(&seat.user);
        let mut state = state.lock().await;
        let to = self.ensure(&seat.user, &mut state).await?;
        let stock = self.marks.stock_namespace();
        let stock = blocking(move || Namespace::make(&stock)).await?;
        let (from, name) = (stock_tap(machine), mark::tap(seat.address));
        stock
            .run(move || async move {
                let netlink = Netlink::open()?;
                match netlink.link(&from).await? {
                    Some(link) => netlink.move_to(&link, &to, &name).await,
                    // Handed over already: whether it is there is seen when it is let in.
                    None => Ok(()),
                }
            })
            .await
    }

    async fn open(&self, seat: &Seat, egress: &Egress) -> Result<(), NetError> {
        let state = self.user(&seat.user);
        let mut state = state.lock().await;
        let namespace = self.ensure(&seat.user, &mut state).await?;
        let mut open = state.open.clone();
        open.insert(seat.address, egress.clone());
        state.modes.set(&open);
        let let_in = Self::let_in(&seat.user, &open, Some(seat.address), &namespace).await;
        match let_in {
            Ok(()) => state.open = open,
            Err(_) => state.modes.set(&state.open),
        }
        let_in
    }

    async fn close(&self, seat: &Seat) -> Result<(), NetError> {
        let state = self.user(&seat.user);
        let mut state = state.lock().await;
        if state.open.remove(&seat.address).is_none() {
            return Ok(());
        }
        let Some(made) = &state.made else {
            return Ok(());
        };
        // What fails leaves the rules as they were, for a tap that is gone.
        Self::let_in(&seat.user, &state.open, None, &made.namespace).await
    }

    async fn remove_if(
        &self,
        user: &UserId,
        is_unused: Box<dyn FnOnce() -> bool + Send>,
    ) -> Result<(), NetError> {
        let state = self.user(user);
        let mut state = state.lock().await;
        if is_unused() {
            self.remove(user, &mut state).await?;
            // Whoever waits for it makes it anew: the lock's own name for it stays until the next
            // look finds that nobody has it.
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let alone = users
                .get(user)
                .is_some_and(|state| Arc::strong_count(state) == 2);
            if alone {
                users.remove(user);
            }
        }
        Ok(())
    }

    fn users(&self) -> Vec<UserId> {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.keys().cloned().collect()
    }

    async fn inventory(&self) -> Result<NetInventory, NetError> {
        let names =
            blocking(|| Namespace::names().map_err(NetError::setting("list network namespaces")))
                .await?;
        let marks = self.marks.clone();
        let (links, tables) = self
            .host
            .run(|| async { Ok((Netlink::open()?.links().await?, nft::tables().await?)) })
            .await?;
        Ok(NetInventory {
            namespaces: names
                .iter()
                .filter_map(|name| marks.user_of_namespace(name))
                .collect(),
            links: links
                .iter()
                .filter_map(|link| marks.user_of_link(&link.name))
                .collect(),
            rules: tables.contains(&marks.host_table()),
        })
    }

    async fn shut(&self) {
        self.stop.cancel();
        let states: Vec<_> = {
            let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            users.values().cloned().collect()
        };
        for state in states {
            if let Some(made) = state.lock().await.made.take() {
                made.shut().await;
            }
        }
        // Of this daemon's alone: what is in it has ended, or is in nobody's hands.
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl NetInventory {
    /// All users that something is there of.
    pub fn users(&self) -> BTreeSet<UserId> {
        self.namespaces.union(&self.links).cloned().collect()
    }
}

/// Looks after what all on this host share.
async fn watch(host: Namespace, stop: CancellationToken) {
    loop {
        let pause = stop.run_until_cancelled(tokio::time::sleep(LOOK));
        if pause.await.is_none() {
            return;
        }
        if let Err(error) = host.run(|| async { uplink::yield_fence().await }).await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the host's rules could not be looked at"
            );
        }
    }
}
