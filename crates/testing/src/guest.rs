//! A look into a guest: shell lines as root, and what a machine says about itself.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use bhatti_api::exec::{ExecRequest, ExecResult};
use bhatti_api::sandbox::{CreateSandbox, Sandbox};
use bhatti_api::snapshot::{CreateSnapshot, ResumeSnapshot, Snapshot};
use bhatti_client::client::Client;
use bhatti_client::error::Error;
use futures::future::join_all;

use crate::wait::wait_for;

/// Time limit of one shell line, in seconds; a guest under software emulation is slow, and more
/// so when others run beside it.
const LINE_LIMIT_SEC: u64 = 60;
/// Memory of a guest, in MiB: enough for the base image and little to capture.
const MEMORY_MB: u64 = 256;
/// Time for a guest to end itself.
const END_LIMIT: Duration = Duration::from_secs(20);
/// How far a guest's clock may be off.
const CLOCK_LIMIT: Duration = Duration::from_secs(2);

/// A sandbox as a test uses it.
#[derive(Debug, Clone)]
pub struct Guest {
    client: Client,
    name: String,
}

/// What tells one machine from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The kernel's host name.
    pub hostname: String,
    /// That in `/etc/hostname`.
    pub etc_hostname: String,
    /// Whether `/etc/hosts` has an address for it.
    pub resolves: bool,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// 16 bytes of `/dev/urandom`.
    pub random: String,
    /// Made by the kernel at its boot.
    pub boot_id: String,
}

impl Guest {
    /// A sandbox of a client's.
    pub fn new(client: Client, name: &str) -> Self {
        Self {
            client,
            name: name.to_owned(),
        }
    }

    /// Makes one of the base image.
    ///
    /// # Panics
    /// If it can't be made.
    pub async fn create(client: Client, name: &str) -> Self {
        let new = CreateSandbox {
            name: Some(name.to_owned()),
            memory_mb: Some(MEMORY_MB),
            ..CreateSandbox::default()
        };
        let created = client
            .sandbox_create(&new)
            .await
            .expect("a sandbox is created");
        assert!(!created.existing, "{name} was there already");
        Self::new(client, name)
    }

    /// Takes a checkpoint of it.
    pub async fn checkpoint(&self, name: &str) -> Result<Snapshot, Error> {
        let new = CreateSnapshot {
            name: name.to_owned(),
        };
        self.client.snapshot_create(&self.name, &new).await
    }

    /// Makes one that goes on from a checkpoint.
    pub async fn resume(client: Client, snapshot: &str, name: &str) -> Result<Self, Error> {
        let new = ResumeSnapshot {
            name: Some(name.to_owned()),
        };
        client.snapshot_resume(snapshot, &new).await?;
        Ok(Self::new(client, name))
    }

    /// What the daemon says about it. Does not wake it.
    ///
    /// # Panics
    /// If the daemon does not know it.
    pub async fn view(&self) -> Sandbox {
        let view = self.client.sandbox_get(&self.name).await;
        view.expect("the sandbox is shown")
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client it is reached by.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a shell line as root.
    pub async fn try_sh(&self, line: &str) -> Result<ExecResult, Error> {
        self.client
            .exec(&self.name, &as_root(&["sh", "-c", line]))
            .await
    }

    /// Runs a shell line as root and gives what it wrote, without the last line's end.
    ///
    /// # Panics
    /// If it can't be run, or fails.
    pub async fn sh(&self, line: &str) -> String {
        let result = self.try_sh(line).await;
        let result = result.unwrap_or_else(|error| panic!("{}: {line}: {error:?}", self.name));
        assert_eq!(
            result.exit_code, 0,
            "{}: {line}: {}",
            self.name, result.stderr
        );
        result.stdout.trim_end().to_owned()
    }

    /// Who it is.
    ///
    /// # Panics
    /// If it does not say.
    pub async fn identity(&self) -> Identity {
        let told = self
            .sh("hostname; cat /etc/hostname; \
                 getent hosts \"$(hostname)\" > /dev/null && echo true || echo false; \
                 cat /etc/machine-id; head -c 16 /dev/urandom | od -An -tx1 | tr -d ' '; \
                 cat /proc/sys/kernel/random/boot_id")
            .await;
        let lines: Vec<&str> = told.lines().collect();
        let [
            hostname,
            etc_hostname,
            resolves,
            machine_id,
            random,
            boot_id,
        ] = lines[..]
        else {
            panic!("{}: {told}", self.name);
        };
        Identity {
            hostname: hostname.to_owned(),
            etc_hostname: etc_hostname.to_owned(),
            resolves: resolves == "true",
            machine_id: machine_id.to_owned(),
            random: random.to_owned(),
            boot_id: boot_id.to_owned(),
        }
    }

    /// Ends the machine from inside, at once, and waits until its daemon has seen that.
    ///
    /// # Panics
    /// If it goes on.
    pub async fn end(&self) {
        // The answer is lost with the machine.
        self.try_sh("echo o > /proc/sysrq-trigger").await.ok();
        wait_for("the machine to be off", END_LIMIT, async || {
            let view = self.view().await;
            if view.thermal == "off" {
                Ok(())
            } else {
                Err(view)
            }
        })
        .await;
    }

    /// The kernel's boot id.
    ///
    /// # Panics
    /// If it does not say.
    pub async fn boot_id(&self) -> String {
        self.sh("cat /proc/sys/kernel/random/boot_id").await
    }

    /// What its clock says, and what the host's said before and after.
    async fn clock(&self) -> (Duration, Duration, Duration) {
        let before = since_epoch();
        let told = self.sh("date +%s.%N").await;
        let after = since_epoch();
        let seconds: f64 = told.parse().expect("date gives a number");
        (Duration::from_secs_f64(seconds), before, after)
    }

    /// Holds the guest's clock against the host's.
    ///
    /// # Panics
    /// If it is off by more than two seconds.
    pub async fn check_clock(&self) {
        let (found, before, after) = self.clock().await;
        assert!(
            found + CLOCK_LIMIT >= before && found <= after + CLOCK_LIMIT,
            "{}: its clock says {found:?}, the host's {before:?} to {after:?}",
            self.name
        );
    }

    /// How far its clock is behind the host's, at least.
    ///
    /// # Panics
    /// If it does not say.
    pub async fn clock_lag(&self) -> Duration {
        let (found, before, _) = self.clock().await;
        before.saturating_sub(found)
    }
}

/// What is shown of a sandbox whenever one looks, and however: without how idle it is and what it
/// takes on disk.
pub fn lasting(view: Sandbox) -> Sandbox {
    Sandbox {
        idle: None,
        disk_own_bytes: None,
        disk_shared_bytes: None,
        ..view
    }
}

/// Checks that each of several copies is a machine of its own, and says who they are. `drawn` is
/// what a program in each drew at random since they parted.
///
/// # Panics
/// If two have something in common that tells machines apart, or one does not go by its name.
pub async fn assert_each_is_its_own(guests: &[Guest], drawn: &[&String]) -> Vec<Identity> {
    let identities = join_all(guests.iter().map(Guest::identity)).await;
    let all_differ = |what: &str, values: Vec<&String>| {
        let distinct: BTreeSet<_> = values.iter().collect();
        assert_eq!(distinct.len(), guests.len(), "{what}: {values:?}");
    };
    all_differ("drawn in a process", drawn.to_vec());
    all_differ("random", identities.iter().map(|who| &who.random).collect());
    all_differ(
        "hostname",
        identities.iter().map(|who| &who.hostname).collect(),
    );
    all_differ(
        "machine id",
        identities.iter().map(|who| &who.machine_id).collect(),
    );
    for (guest, who) in guests.iter().zip(&identities) {
        assert_eq!(who.hostname, guest.name());
        assert!(who.resolves, "{who:?}");
    }
    identities
}

/// A command to be run by root, with a time limit.
pub fn as_root(cmd: &[&str]) -> ExecRequest {
    ExecRequest {
        cmd: cmd.iter().map(|arg| (*arg).to_owned()).collect(),
        user: Some("root".to_owned()),
        timeout_sec: Some(LINE_LIMIT_SEC),
        ..ExecRequest::default()
    }
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .expect("the host's clock is past 1970")
}
