//! Networks on a host that the test makes itself: a network namespace with a way to an
//! "internet", which is another.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bhatti_host::command::Command;
use bhatti_net::error::NetError;
use bhatti_net::host_networks::{HostNetworks, Unfit};
use bhatti_net::namespace::Namespace;
use bhatti_net::networks::{Names, NetInventory, Networks as _, Running, Seat};
use bhatti_net::range::Range;
use bhatti_net::settings::NetworkSettings;
use bhatti_testing::internet::{ADDRESS as INTERNET, HOST, Internet, ip, serve};
use bhatti_types::egress::{AllowedRanges, Egress, EgressMode};
use bhatti_types::id::{DataDirId, SandboxId, UserId};
use bhatti_types::name::SandboxName;

/// Longest wait for a packet that is to come.
const SOON: Duration = Duration::from_secs(5);
struct Nobody;

impl Names for Nobody {
    fn address_of(&self, _user: &UserId, _name: &str) -> Option<Ipv4Addr> {
        None
    }

    fn name_at(&self, _user: &UserId, _address: Ipv4Addr) -> Option<SandboxName> {
        None
    }
}

fn policy(mode: EgressMode, allow: &[&str]) -> Egress {
    let ranges = allow.iter().map(|range| range.parse().unwrap());
    Egress {
        mode,
        allow: AllowedRanges::new(ranges).unwrap(),
    }
}

/// A machine without a VMM: a namespace whose card is the other end of a pair, put in the place
/// of the tap. It answers and asks as a guest's kernel does.
struct Machine {
    namespace: Namespace,
    seat: Seat,
}

impl Machine {
    async fn plug(
        networks: &HostNetworks,
        user: &UserId,
        address: [u8; 4],
        marks: &DataDirId,
    ) -> Self {
        let seat = Seat {
            user: user.clone(),
            address: address.into(),
        };
        // Makes the network; the tap itself ends here.
        drop(networks.plug(&seat).await.unwrap());
        let card = networks.card(seat.address);
        let name = format!(
            "bhatti-test-{}-{}-{}",
            std::process::id(),
            user,
            seat.address
        );
        let made = name.clone();
        let namespace = tokio::task::spawn_blocking(move || Namespace::make(&made))
            .await
            .unwrap()
            .unwrap();
        let of_user = format!("bhatti-{marks}-{user}");
        let tap = bhatti_net::mark::tap(seat.address);
        ip(&format!(
            "-n {of_user} link add {tap} type veth peer name eth0 netns {name}"
        ))
        .await;
        for line in [
            format!("link set eth0 address {} mtu {}", card.mac, card.mtu),
            format!("addr add {}/{} dev eth0", card.address, card.prefix),
            "link set eth0 up".to_owned(),
            "link set lo up".to_owned(),
            format!("route add default via {}", card.gateway),
        ] {
            ip(&format!("-n {name} {line}")).await;
        }
        Self { namespace, seat }
    }

    /// Whether it gets a TCP connection, with an answer over it.
    async fn reaches(&self, to: impl Into<Ipv4Addr>, port: u16) -> bool {
        let to = SocketAddr::from((to.into(), port));
        let connect = move || async move {
            let Ok(mut stream) = TcpStream::connect_timeout(&to, Duration::from_secs(1)) else {
                return Ok(false);
            };
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut heard = [0; 2];
            Ok(stream.read_exact(&mut heard).is_ok())
        };
        self.namespace.run(connect).await.unwrap()
    }

    /// [`Self::reaches`], with patience: a neighbour that did not answer before is asked again only
    /// after a while.
    async fn gets_to(&self, to: impl Into<Ipv4Addr>, port: u16) -> bool {
        let to = to.into();
        for _ in 0..10 {
            if self.reaches(to, port).await {
                return true;
            }
        }
        false
    }

    /// Answers all who connect, for ever.
    async fn listen(&self, port: u16) {
        serve(&self.namespace, port).await;
    }

    /// Sets its card up in another way.
    async fn ip(&self, line: &str) {
        ip(&format!("-n {} {line}", self.namespace.name())).await;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Namespace::remove(self.namespace.name());
    }
}

async fn open(data_dir: &DataDirId, settings: NetworkSettings) -> Result<HostNetworks, Unfit> {
    HostNetworks::open(data_dir.clone(), settings, Arc::new(Nobody)).await
}

#[tokio::test(flavor = "current_thread")]
async fn who_reaches_whom_follows_from_users_and_policies() {
    let Some(ground) = Internet::make().await else {
        return;
    };
    serve(&ground.namespace().await, 80).await;
    let host = Namespace::current().unwrap();
    serve(&host, 80).await;
    let data_dir = DataDirId::random();
    let networks = open(&data_dir, NetworkSettings::default()).await.unwrap();
    assert_eq!(networks.card([10, 83, 0, 2].into()).mtu, 1400);
    let (alice, bob) = (UserId::random(), UserId::random());
    let one = Machine::plug(&networks, &alice, [10, 83, 0, 2], &data_dir).await;
    let two = Machine::plug(&networks, &alice, [10, 83, 0, 3], &data_dir).await;
    let other = Machine::plug(&networks, &bob, [10, 83, 0, 4], &data_dir).await;
    for machine in [&one, &two, &other] {
        machine.listen(80).await;
    }

    // Nothing goes before they are let in.
    assert!(!one.reaches(INTERNET, 80).await);
    for machine in [&one, &two, &other] {
        networks
            .open(&machine.seat, &Egress::default())
            .await
            .unwrap();
    }

    assert!(one.gets_to(INTERNET, 80).await, "the internet");
    assert!(
        one.gets_to(two.seat.address, 80).await,
        "a machine of the same user"
    );
    assert!(!one.reaches(other.seat.address, 80).await, "another user's");
    assert!(!one.reaches(HOST, 80).await, "the host");
    assert!(
        !one.reaches([10, 83, 8, 0], 80).await,
        "the host's end of the way out"
    );
    assert!(!one.reaches([10, 83, 8, 3], 80).await, "another's way out");
    assert!(!one.reaches([10, 83, 0, 1], 80).await, "the gateway");
    assert!(
        !one.reaches([192, 168, 5, 5], 80).await,
        "a private network"
    );
    assert!(
        !one.reaches([169, 254, 169, 254], 80).await,
        "the metadata service"
    );

    // Policies hold from the next packet on.
    networks
        .open(&one.seat, &policy(EgressMode::Deny, &[]))
        .await
        .unwrap();
    assert!(!one.reaches(INTERNET, 80).await);
    assert!(one.gets_to(two.seat.address, 80).await);
    networks
        .open(&one.seat, &policy(EgressMode::Deny, &["9.9.9.0/24"]))
        .await
        .unwrap();
    assert!(one.gets_to(INTERNET, 80).await);
    networks
        .open(&one.seat, &policy(EgressMode::Open, &[]))
        .await
        .unwrap();
    assert!(one.gets_to(INTERNET, 80).await);
    assert!(
        !one.reaches([192, 168, 5, 5], 80).await,
        "not opened by the administrator"
    );

    // As another than who it is.
    two.ip("addr add 10.83.0.9/32 dev eth0").await;
    two.ip("route replace default via 10.83.0.1 src 10.83.0.9")
        .await;
    assert!(!two.reaches(INTERNET, 80).await, "another address");
    two.ip("route replace default via 10.83.0.1 src 10.83.0.3")
        .await;
    assert!(two.gets_to(INTERNET, 80).await);
    two.ip("link set eth0 address 02:11:22:33:44:55").await;
    assert!(!two.reaches(INTERNET, 80).await, "another card");

    networks.close(&one.seat).await.unwrap();
    assert!(!one.reaches(INTERNET, 80).await, "shut out");
    clean(&networks, &[&alice, &bob]).await;
}

async fn clean(networks: &HostNetworks, users: &[&UserId]) {
    for user in users {
        networks.remove_if(user, Box::new(|| true)).await.unwrap();
    }
    assert_eq!(networks.inventory().await.unwrap(), NetInventory::default());
    networks.shut().await;
    let forwarding = fs_err::read_to_string("/proc/sys/net/ipv4/conf/uplink/forwarding");
    assert_eq!(forwarding.unwrap().trim(), "0");
    let rules = Command::new("nft")
        .args(["list", "ruleset"])
        .run()
        .await
        .unwrap();
    assert_eq!(String::from_utf8(rules.stdout).unwrap(), "");
}

#[tokio::test(flavor = "current_thread")]
async fn the_next_daemon_takes_up_what_is_in_use_and_takes_away_the_rest() {
    let Some(ground) = Internet::make().await else {
        return;
    };
    serve(&ground.namespace().await, 80).await;
    let data_dir = DataDirId::random();
    let first = open(&data_dir, NetworkSettings::default()).await.unwrap();
    let (alice, bob) = (UserId::random(), UserId::random());
    let one = Machine::plug(&first, &alice, [10, 83, 0, 2], &data_dir).await;
    let other = Machine::plug(&first, &bob, [10, 83, 0, 2], &data_dir).await;
    first.open(&one.seat, &Egress::default()).await.unwrap();
    first.open(&other.seat, &Egress::default()).await.unwrap();
    let _stock = first.plug_stock(&SandboxId::random()).await.unwrap();
    first.shut().await;
    drop(first);
    assert!(one.gets_to(INTERNET, 80).await, "without a daemon");

    let second = open(&data_dir, NetworkSettings::default()).await.unwrap();
    let machines = BTreeMap::from([(one.seat.address, Egress::default())]);
    let running = Running::from([(alice.clone(), machines)]);
    second.take_up(running).await.unwrap();
    assert!(one.gets_to(INTERNET, 80).await);
    let left = second.inventory().await.unwrap();
    assert_eq!(
        left.namespaces.into_iter().collect::<Vec<_>>(),
        std::slice::from_ref(&alice)
    );
    assert_eq!(
        left.links.into_iter().collect::<Vec<_>>(),
        std::slice::from_ref(&alice)
    );
    let stock = format!("bhatti-{data_dir}-stock");
    assert!(!Namespace::names().unwrap().contains(&stock));
    clean(&second, &[&alice]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_tap_in_stock_is_handed_over_and_ends_with_its_descriptor() {
    let Some(_ground) = Internet::make().await else {
        return;
    };
    let data_dir = DataDirId::random();
    let networks = open(&data_dir, NetworkSettings::default()).await.unwrap();
    let (user, machine) = (UserId::random(), SandboxId::random());
    let tap = networks.plug_stock(&machine).await.unwrap();
    let seat = Seat {
        user: user.clone(),
        address: [10, 83, 0, 7].into(),
    };
    networks.hand_over(&machine, &seat).await.unwrap();
    networks.open(&seat, &Egress::default()).await.unwrap();
    let of_user = format!("bhatti-{data_dir}-{user}");
    let links = async || {
        let listed = Command::new("ip")
            .args(["-n", &of_user, "-o", "link"])
            .run()
            .await;
        String::from_utf8(listed.unwrap().stdout).unwrap()
    };
    let before = links().await;
    assert!(
        before.contains("tap83.0.7") && before.contains("master br0"),
        "{before}"
    );
    drop(tap);
    assert!(!links().await.contains("tap83.0.7"));
    networks.take_up(Running::new()).await.unwrap();
    clean(&networks, &[]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_range_that_the_host_has_a_route_to_is_refused() {
    let Some(_ground) = Internet::make().await else {
        return;
    };
    ip("route add 10.83.4.0/22 via 8.8.8.1").await;
    let data_dir = DataDirId::random();
    let refused = open(&data_dir, NetworkSettings::default()).await;
    let Err(Unfit::Net(NetError::Conflict { interface, .. })) = refused else {
        panic!("it is not refused");
    };
    assert_eq!(interface, "uplink");
    let settings = NetworkSettings {
        range: Range::new("172.20.0.0/22".parse().unwrap()).unwrap(),
        ..NetworkSettings::default()
    };
    open(&data_dir, settings).await.unwrap().shut().await;
}

#[tokio::test(flavor = "current_thread")]
async fn names_outside_are_asked_of_the_resolvers_that_are_set() {
    let Some(_ground) = Internet::make().await else {
        return;
    };
    let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings = NetworkSettings {
        dns: vec![upstream.local_addr().unwrap()],
        ..NetworkSettings::default()
    };
    let data_dir = DataDirId::random();
    let networks = open(&data_dir, settings).await.unwrap();
    let user = UserId::random();
    let machine = Machine::plug(&networks, &user, [10, 83, 0, 2], &data_dir).await;
    networks
        .open(&machine.seat, &Egress::default())
        .await
        .unwrap();
    upstream.set_read_timeout(Some(SOON)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let (length, from) = upstream.recv_from(&mut buffer).unwrap();
        // The question as an answer.
        buffer[2] |= 0x80;
        upstream.send_to(&buffer[..length], from).unwrap();
    });
    // Of example.com, A, with the number 0x1234.
    let question =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01";
    let ask = move || async move {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.send_to(question, "10.83.0.1:53").unwrap();
        let mut answer = [0; 512];
        let length = socket.recv(&mut answer).unwrap();
        Ok(answer[..length].to_vec())
    };
    let answer = machine.namespace.run(ask).await.unwrap();
    assert_eq!(answer[..2], question[..2]);
    assert_eq!(answer[4..], question[4..]);
    clean(&networks, &[&user]).await;
}
