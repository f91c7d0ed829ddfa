//! A host of a test's own: a network namespace with a way out to an "internet", which is another
//! namespace. Its addresses look public, and nothing of it can be reached from elsewhere.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};

use bhatti_host::command::Command;
use bhatti_net::namespace::Namespace;

/// An address of the "internet".
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);
/// The host's own address there.
pub const HOST: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
/// Longest packet on the way out, in bytes: less than usual, so that it shows who asked for it.
pub const MTU: u32 = 1400;

/// The "internet"; gone when it is dropped.
#[derive(Debug)]
pub struct Internet {
    name: String,
}

impl Internet {
    /// Moves this thread, and what it starts, to a host of its own. `None`, with the reason, where
    /// that can't be done.
    ///
    /// # Panics
    /// If the host can be made, but not set up.
    #[expect(clippy::print_stderr, reason = "tells why nothing is tested")]
    pub async fn make() -> Option<Self> {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            eprintln!("skipped: needs the right to make a network namespace ({error})");
            return None;
        }
        let name = format!("bhatti-test-{}", std::process::id());
        let made = name.clone();
        tokio::task::spawn_blocking(move || Namespace::make(&made))
            .await
            .expect("it does not panic")
            .expect("a namespace is made");
        let internet = Self { name };
        let name = &internet.name;
        ip("link set lo up").await;
        ip(&format!(
            "link add uplink mtu {MTU} type veth peer name eth0 netns {name}"
        ))
        .await;
        ip(&format!("addr add {HOST}/24 dev uplink")).await;
        ip("link set uplink up").await;
        ip("route add default via 8.8.8.1").await;
        for line in [
            "link set lo up".to_owned(),
            "addr add 8.8.8.1/24 dev eth0".to_owned(),
            format!("addr add {ADDRESS}/32 dev lo"),
            // What no guest is to reach, though the host can.
            "addr add 192.168.5.5/32 dev lo".to_owned(),
            "addr add 169.254.169.254/32 dev lo".to_owned(),
            "link set eth0 up".to_owned(),
        ] {
            ip(&format!("-n {name} {line}")).await;
        }
        Some(internet)
    }

    /// Its namespace.
    ///
    /// # Panics
    /// If somebody has taken it away.
    pub async fn namespace(&self) -> Namespace {
        let name = self.name.clone();
        let found = tokio::task::spawn_blocking(move || Namespace::find(&name));
        let found = found.await.expect("it does not panic");
        found.expect("it is looked for").expect("it is there")
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        // It may be gone, and a failed test has said more.
        let _ = Namespace::remove(&self.name);
    }
}

/// Runs `ip` with the words of a line.
///
/// # Panics
/// If it fails.
pub async fn ip(line: &str) {
    let run = Command::new("ip").args(line.split(' ')).run().await;
    run.unwrap_or_else(|error| panic!("ip {line}: {error}"));
}

/// Answers `ok` to all who connect to a port in a namespace, until the process ends.
///
/// # Panics
/// If the port is taken.
pub async fn serve(namespace: &Namespace, port: u16) {
    let bind = move || async move { Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))) };
    let listener = namespace.run(bind).await.expect("it is entered");
    let listener = listener.expect("the port is free");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(b"ok");
        }
    });
}
