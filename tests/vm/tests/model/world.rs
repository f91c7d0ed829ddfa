//! A daemon with real guests, and what is known of them.

use std::collections::BTreeMap;

use bhatti_api::sandbox::{CreateSandbox, ForkSandbox, RollbackSandbox, StartSandbox};
use bhatti_client::client::Client;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

use crate::numbers::Numbers;

/// Names of sandboxes.
const NAMES: [&str; 2] = ["a", "b"];
/// Names of checkpoints.
const SNAPS: [&str; 2] = ["s", "t"];

/// Where a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thermal {
    Hot,
    Warm,
    Cold,
    Off,
}

impl Thermal {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
            Self::Off => "off",
        }
    }
}

/// What a guest has been told: in its memory, and on its disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Told {
    memory: u64,
    disk: u64,
}

#[derive(Debug, Clone)]
struct Known {
    id: String,
    told: Told,
    thermal: Thermal,
}

/// A checkpoint: of which sandbox, and what that had been told.
#[derive(Debug, Clone)]
struct Snap {
    of: String,
    told: Told,
}

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Create,
    Remember,
    Store,
    Read,
    Pause,
    Sleep,
    Wake,
    Checkpoint,
    Resume,
    Fork,
    Rollback,
    Destroy,
    End,
    KillDaemon,
    RestartDaemon,
}

/// Those that matter more are there more often.
const OPS: [Op; 22] = [
    Op::Create,
    Op::Create,
    Op::Remember,
    Op::Remember,
    Op::Remember,
    Op::Store,
    Op::Read,
    Op::Pause,
    Op::Pause,
    Op::Sleep,
    Op::Sleep,
    Op::Sleep,
    Op::Wake,
    Op::Checkpoint,
    Op::Checkpoint,
    Op::Resume,
    Op::Fork,
    Op::Rollback,
    Op::Destroy,
    Op::End,
    Op::KillDaemon,
    Op::RestartDaemon,
];

pub(crate) struct World {
    daemon: Daemon,
    known: BTreeMap<&'static str, Known>,
    snaps: BTreeMap<&'static str, Snap>,
    /// Checkpoints that rollbacks have kept.
    kept: Vec<(String, Told)>,
    next: u64,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self {
            daemon: Daemon::start().await,
            known: BTreeMap::new(),
            snaps: BTreeMap::new(),
            kept: Vec::new(),
            next: 1,
        }
    }

    fn client(&self) -> Client {
        self.daemon.client()
    }

    fn guest(&self, name: &str) -> Guest {
        Guest::new(self.client(), name)
    }

    /// Does one thing that can be done, and looks whether all is as it has to be.
    pub(crate) async fn step(&mut self, numbers: &mut Numbers) {
        loop {
            let (op, name) = (numbers.one_of(&OPS), numbers.one_of(&NAMES));
            let snap = numbers.one_of(&SNAPS);
            if !self.can(op, name, snap) {
                continue;
            }
            println!("{op:?} {name} {snap}");
            self.apply(op, name, snap).await;
            self.agrees().await;
            return;
        }
    }

    fn can(&self, op: Op, name: &str, snap: &str) -> bool {
        let thermal = self.known.get(name).map(|known| known.thermal);
        let has_memory = thermal.is_some_and(|thermal| thermal != Thermal::Off);
        match op {
            Op::Create => thermal.is_none(),
            Op::Resume => thermal.is_none() && self.snaps.contains_key(snap),
            Op::Fork => has_memory && self.known.len() < NAMES.len(),
            Op::Checkpoint => has_memory && !self.snaps.contains_key(snap),
            Op::Rollback => {
                let id = self.known.get(name).map(|known| &known.id);
                has_memory
                    && self
                        .snaps
                        .get(snap)
                        .is_some_and(|snap| Some(&snap.of) == id)
            }
            Op::Pause | Op::Sleep => has_memory,
            Op::End => thermal == Some(Thermal::Hot),
            Op::Remember | Op::Store | Op::Read | Op::Wake | Op::Destroy => thermal.is_some(),
            // In an empty host there is nothing to see.
            Op::KillDaemon | Op::RestartDaemon => !self.known.is_empty(),
        }
    }

    async fn apply(&mut self, op: Op, name: &'static str, snap: &'static str) {
        let (client, guest) = (self.client(), self.guest(name));
        let number = self.next;
        self.next += 1;
        match op {
            Op::Create => {
                let new = CreateSandbox {
                    name: Some(name.to_owned()),
                    memory_mb: Some(256),
                    idle_pause: Some("never".to_owned()),
                    ..CreateSandbox::default()
                };
                let made = client.sandbox_create(&new).await;
                let made = made.unwrap_or_else(|error| panic!("no sandbox: {error:?}"));
                self.learn(name, made.sandbox.id, Told::default());
            }
            Op::Resume => {
                let resumed = Guest::resume(client, snap, name).await;
                let id = resumed.expect("a copy is made").view().await.id;
                let told = self.snaps[snap].told;
                self.learn(name, id, told);
            }
            Op::Fork => {
                let other = NAMES.iter().find(|other| !self.known.contains_key(*other));
                let other = *other.expect("a name is free");
                let fork = ForkSandbox {
                    name: Some(other.to_owned()),
                    ..ForkSandbox::default()
                };
                let copies = client.sandbox_fork(name, &fork).await;
                let copies = copies.unwrap_or_else(|error| panic!("no copy: {error:?}"));
                let told = self.known[name].told;
                self.learn(other, copies[0].id.clone(), told);
            }
            Op::Remember => {
                guest.sh(&format!("echo {number} > /dev/shm/n")).await;
                let known = self.woken(name);
                known.told.memory = number;
            }
            Op::Store => {
                guest
                    .sh(&format!("echo {number} > /var/tmp/n && sync"))
                    .await;
                let known = self.woken(name);
                known.told.disk = number;
            }
            Op::Read => {
                self.woken(name);
                self.ask(name).await;
            }
            Op::Wake => {
                let started = client.sandbox_start(name, &StartSandbox::default()).await;
                started.expect("it starts");
                self.woken(name);
            }
            Op::Pause => {
                client.sandbox_pause(name).await.expect("it is paused");
                let known = self.known(name);
                if known.thermal == Thermal::Hot {
                    known.thermal = Thermal::Warm;
                }
            }
            Op::Sleep => {
                client.sandbox_stop(name).await.expect("it sleeps");
                self.known(name).thermal = Thermal::Cold;
            }
            Op::Checkpoint => {
                guest.checkpoint(snap).await.expect("a checkpoint is taken");
                let known = self.known(name).clone();
                let (of, told) = (known.id, known.told);
                self.snaps.insert(snap, Snap { of, told });
            }
            Op::Rollback => {
                let back = RollbackSandbox {
                    to: snap.to_owned(),
                    force: false,
                };
                let done = client.sandbox_rollback(name, &back).await;
                let done = done.unwrap_or_else(|error| panic!("not put back: {error:?}"));
                let told = self.snaps[snap].told;
                let known = self.known(name);
                let before = std::mem::replace(&mut known.told, told);
                known.thermal = Thermal::Hot;
                let kept = done.kept_as.expect("what it was is kept");
                self.kept.push((kept, before));
            }
            Op::Destroy => {
                client.sandbox_destroy(name).await.expect("it is destroyed");
                self.known.remove(name);
            }
            Op::End => {
                guest.end().await;
                let known = self.known(name);
                known.told.memory = 0;
                known.thermal = Thermal::Off;
            }
            Op::KillDaemon => {
                self.daemon.kill().await;
                self.daemon.serve(&[]).await;
            }
            Op::RestartDaemon => {
                self.daemon.stop().await;
                self.daemon.serve(&[]).await;
            }
        }
    }

    fn learn(&mut self, name: &'static str, id: String, told: Told) {
        let thermal = Thermal::Hot;
        self.known.insert(name, Known { id, told, thermal });
    }

    fn known(&mut self, name: &str) -> &mut Known {
        self.known.get_mut(name).expect("it is known")
    }

    /// It was asked for something, and is hot since.
    fn woken(&mut self, name: &str) -> &mut Known {
        let known = self.known(name);
        known.thermal = Thermal::Hot;
        known
    }

    /// Asks a guest what it remembers, and who it is.
    async fn ask(&self, name: &str) {
        let read = "cat /dev/shm/n 2>/dev/null || echo 0; cat /var/tmp/n 2>/dev/null || echo 0; \
                    hostname";
        let said = self.guest(name).sh(read).await;
        let Told { memory, disk } = self.known[name].told;
        assert_eq!(said, format!("{memory}\n{disk}\n{name}"), "{name}");
    }

    /// Whether what is shown, the processes and the files are as they have to be.
    async fn agrees(&self) {
        for (name, known) in &self.known {
            let shown = self.guest(name).view().await;
            assert_eq!(shown.id, known.id);
            assert_eq!(shown.thermal, known.thermal.as_str(), "{name}: {shown:?}");
        }
        let found = self.daemon.inventory().await;
        let all = self.known.values().map(|known| known.id.clone());
        assert_eq!(found.sandboxes, all.collect());
        let awake = self
            .known
            .values()
            .filter(|known| matches!(known.thermal, Thermal::Hot | Thermal::Warm));
        let mut awake: Vec<_> = awake.map(|known| known.id.clone()).collect();
        awake.sort();
        assert_eq!(found.machines, awake);
        assert_eq!(found.snapshots.len(), self.snaps.len() + self.kept.len());
    }

    /// The end of every sequence: all that is known is still there, and goes away whole.
    pub(crate) async fn end(mut self) {
        println!("the end");
        let names: Vec<_> = self.known.keys().copied().collect();
        for name in names {
            self.ask(name).await;
            self.apply(Op::Destroy, name, "").await;
        }
        let snaps = std::mem::take(&mut self.snaps)
            .into_iter()
            .map(|(name, snap)| (name.to_owned(), snap.told));
        let all: Vec<_> = snaps.chain(std::mem::take(&mut self.kept)).collect();
        for (snap, told) in all {
            let resumed = Guest::resume(self.client(), &snap, "a").await;
            let id = resumed.expect("a copy is made").view().await.id;
            self.learn("a", id, told);
            self.ask("a").await;
            self.apply(Op::Destroy, "a", "").await;
            let deleted = self.client().snapshot_delete(&snap).await;
            deleted.expect("it is deleted");
        }
        self.agrees().await;
    }
}
