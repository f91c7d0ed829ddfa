//! Networks of machines: who is plugged in where, and when it is let in.
//!
//! ```text
//! launch: an address, a tap ──► run ──► identify: who it is, its card ──► let in, by its policy
//! ```
//! A tap ends with its VMM; what is here follows from records and can be made anew.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bhatti_guest::identity::Card;
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_net::error::NetError;
use bhatti_net::host_networks::{HostNetworks, Unfit};
use bhatti_net::networks::{Names, Networks, Running, Seat};
use bhatti_net::settings::{NetworkChoice, NetworkSettings};
use bhatti_store::sandbox::SandboxRow;
use bhatti_types::cidr::Cidr;
use bhatti_types::egress::{Egress, PRIVATE};
use bhatti_types::id::{DataDirId, SandboxId, UserId};
use bhatti_types::invalid::Invalid;
use bhatti_types::mac::Mac;
use bhatti_types::name::SandboxName;
use bhatti_vmm::machine::{Devices, Nic, Tap};

use crate::context::Context;
use crate::error::Error;
use crate::sandbox::directory::Directory;
use crate::sandbox::work::{MachineRecord, Work};
use crate::view::{NetworkView, SandboxView};

/// How often networks are looked for that nobody uses any more.
const LOOK: Duration = Duration::from_secs(30);

/// The networks of a daemon.
pub(crate) struct Network {
    on: Result<Arc<dyn Networks>, String>,
    /// Private ranges that users may let their machines into.
    private: Vec<Cidr>,
}

impl Network {
    /// Sees whether there can be networks, if there are to be any.
    pub(crate) async fn open(
        settings: NetworkSettings,
        data_dir: &DataDirId,
        names: Arc<dyn Names>,
    ) -> Result<Self, Error> {
        let private = settings.private.clone();
        if settings.choice == NetworkChoice::Off {
            let on = Err("networks are turned off".to_owned());
            return Ok(Self { on, private });
        }
        let choice = settings.choice;
        let on = match HostNetworks::open(data_dir.clone(), settings, names).await {
            Ok(networks) => Ok(Arc::new(networks) as Arc<dyn Networks>),
            Err(error) if choice == NetworkChoice::On => return Err(refusal(&error)),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "machines have no network"
                );
                Err(error.to_string())
            }
        };
        Ok(Self { on, private })
    }

    /// What the daemon says of it.
    pub(crate) fn view(&self) -> NetworkView {
        match &self.on {
            Ok(_) => NetworkView::On,
            Err(why) => NetworkView::Off(why.clone()),
        }
    }

    /// Refuses a policy that lets a machine into private ranges which are not for users.
    pub(crate) fn check(&self, egress: &Egress) -> Result<(), Invalid> {
        for range in egress.allow.ranges() {
            let private = PRIVATE.iter().find(|private| private.overlaps(*range));
            let opened = self.private.iter().any(|opened| opened.covers(*range));
            if let (Some(private), false) = (private, opened) {
                return Err(Invalid::new(
                    "address range",
                    &range.to_string(),
                    format!("{private} is private, and not opened by `network_private`"),
                ));
            }
        }
        Ok(())
    }

    /// Lets go of the networks, which stay as they are.
    pub(crate) async fn shut(&self) {
        if let Ok(networks) = &self.on {
            networks.shut().await;
        }
    }
}

/// Why a daemon that is to have networks does not start.
fn refusal(error: &Unfit) -> Error {
    Error::Unavailable {
        message: format!("there can be no networks: {error}"),
        hint: Some(match error {
            Unfit::Net(NetError::Conflict { .. }) => {
                "set `network_range` to one that the host does not use".to_owned()
            }
            _ => "install nftables and run as root, or set `network` to `auto`".to_owned(),
        }),
    }
}

impl From<NetError> for Error {
    fn from(error: NetError) -> Self {
        Self::Failed {
            message: "the machine's network could not be set up".to_owned(),
            hint: None,
            source: Some(Box::new(error)),
        }
    }
}

impl Names for Directory {
    fn address_of(&self, user: &UserId, name: &str) -> Option<Ipv4Addr> {
        let found = self.pick_of_user(user, |view| {
            let is_named = view.name.as_str().eq_ignore_ascii_case(name);
            (is_named && view.status != bhatti_types::state::Status::Destroying)
                .then(|| (view.name.as_str() == name, view.address))
        });
        let exact = found.iter().find(|(exact, _)| *exact);
        exact.or_else(|| found.first())?.1
    }

    fn name_at(&self, user: &UserId, address: Ipv4Addr) -> Option<SandboxName> {
        let at = |view: &SandboxView| (view.address == Some(address)).then(|| view.name.clone());
        self.pick_of_user(user, at).into_iter().next()
    }
}

/// Takes up what an earlier daemon left of networks. What fails leaves machines without.
pub(crate) async fn take_up(ctx: &Arc<Context>, rows: &BTreeMap<SandboxId, SandboxRow>) {
    let Ok(networks) = &ctx.network.on else {
        return;
    };
    let mut running = Running::new();
    for row in rows.values() {
        let machines = running.entry(row.user.clone()).or_default();
        let record = row.machine.as_deref().map(serde_json::from_str);
        let plugged = matches!(record, Some(Ok(MachineRecord { plugged: true, .. })));
        let has_machine = State::from_shown(row.status, row.thermal).has_machine();
        if let (Some(address), true, true) = (row.address, plugged, has_machine) {
            machines.insert(address, row.egress.clone());
        }
    }
    if let Err(error) = networks.take_up(running).await {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "networks of an earlier daemon were not taken up whole"
        );
    }
}

/// Takes away networks of users that have no sandboxes.
pub(crate) async fn watch(ctx: &Arc<Context>) {
    let Ok(networks) = &ctx.network.on else {
        return;
    };
    loop {
        tokio::time::sleep(LOOK).await;
        for user in networks.users() {
            ctx.release_network(&user).await;
        }
    }
}

impl Context {
    /// Takes away the network of a user that has no sandboxes.
    pub(crate) async fn release_network(&self, user: &UserId) {
        let Ok(networks) = &self.network.on else {
            return;
        };
        let (store, asked) = (self.store.clone(), user.clone());
        // A user with the last look's answer may make one meanwhile: its machine waits for the
        // network, and is counted here.
        let is_unused = move || {
            let count = store.read(|txn| txn.sandbox_count(&asked));
            matches!(count, Ok(0))
        };
        if let Err(error) = networks.remove_if(user, Box::new(is_unused)).await {
            tracing::warn!(
                %user,
                error = &error as &dyn std::error::Error,
                "a network that nobody uses was left"
            );
        }
    }
}

impl Work {
    /// The card of a machine that is about to start; `None` where it is to be plugged into
    /// nothing.
    pub(crate) async fn plug(
        &mut self,
        plan: PlanKind,
        devices: Devices,
    ) -> Result<Option<Nic>, Error> {
        self.plugged = false;
        let Ok(networks) = self.ctx.network.on.clone() else {
            return Ok(None);
        };
        // A template is nobody's, and machines of the first kits have no card.
        if self.place.is_some() || devices == Devices::V1 {
            return Ok(None);
        }
        let (tap, mac) = if plan == PlanKind::Stock {
            (networks.plug_stock(&self.row.id).await?, None)
        } else {
            let seat = self.seat(&*networks).await?;
            let mac = Mac::of(seat.address);
            (networks.plug(&seat).await?, Some(mac))
        };
        self.plugged = true;
        Ok(Some(Nic {
            tap: Tap::Open(Arc::new(tap)),
            mac: mac.unwrap_or(Mac::of(Ipv4Addr::UNSPECIFIED)),
        }))
    }

    /// Its place in its user's network; an address is taken if it has none.
    async fn seat(&mut self, networks: &dyn Networks) -> Result<Seat, Error> {
        let (id, range) = (self.row.id.clone(), networks.addresses());
        let taken = self
            .ctx
            .db(move |store| store.sandbox_take_address(&id, range))
            .await?;
        let address = taken.ok_or_else(|| Error::Unavailable {
            message: "all addresses of your network are in use".to_owned(),
            hint: Some("destroy sandboxes you do not need".to_owned()),
        })?;
        self.row.address = Some(address);
        Ok(Seat {
            user: self.row.user.clone(),
            address,
        })
    }

    /// Moves the tap of a clone that was in stock to where its new owner's network is.
    pub(crate) async fn take_seat(&mut self) -> Result<(), Error> {
        if !self.plugged {
            return Ok(());
        }
        let Ok(networks) = self.ctx.network.on.clone() else {
            return Ok(());
        };
        let seat = self.seat(&*networks).await?;
        Ok(networks.hand_over(&self.row.id, &seat).await?)
    }

    fn seated(&self) -> Option<(Arc<dyn Networks>, Seat)> {
        let networks = self.ctx.network.on.clone().ok()?;
        let address = self.row.address.filter(|_| self.plugged)?;
        let user = self.row.user.clone();
        Some((networks, Seat { user, address }))
    }

    /// What its card is set up with.
    pub(crate) fn card(&self) -> Option<Card> {
        let (networks, seat) = self.seated()?;
        let card = networks.card(seat.address);
        Some(Card {
            mac: card.mac,
            address: card.address,
            prefix: card.prefix,
            gateway: card.gateway,
            mtu: card.mtu,
            dns: card.dns,
        })
    }

    /// Lets it into its user's network: it knows who it is.
    pub(crate) async fn let_in(&self) -> Result<(), Error> {
        match self.seated() {
            Some((networks, seat)) => Ok(networks.open(&seat, &self.row.egress).await?),
            None => Ok(()),
        }
    }

    /// Has a policy hold for its machine, if it has one.
    pub(crate) async fn enforce(&self, egress: &Egress) -> Result<(), Error> {
        if *egress == self.row.egress || !self.state().has_machine() {
            return Ok(());
        }
        match self.seated() {
            Some((networks, seat)) => Ok(networks.open(&seat, egress).await?),
            None => Ok(()),
        }
    }

    /// Shuts out a machine that has ended. What is left of it is a rule for a tap that is gone.
    pub(crate) async fn shut_out(&mut self) {
        let Some((networks, seat)) = self.seated() else {
            return;
        };
        self.plugged = false;
        if let Err(error) = networks.close(&seat).await {
            tracing::warn!(
                sandbox = %self.row.id,
                error = &error as &dyn std::error::Error,
                "rules for a machine that has ended were left"
            );
        }
    }
}
