//! Volumes as seen from the host.

use bhatti_api::sandbox::CreateSandbox;
use bhatti_api::volume::{AttachVolume, CreateVolume, PersistentVolume, Volume};
use bhatti_client::client::Client;
use bhatti_client::error::Error;
use bhatti_host::command::Command;
use bhatti_testing::daemon::Daemon;
use bhatti_testing::guest::Guest;

/// Memory of a guest, in MiB.
const MEMORY_MB: u64 = 512;

/// Makes a volume.
pub(crate) async fn make(daemon: &Daemon, name: &str, size_mb: u64) -> Volume {
    let new = CreateVolume {
        name: name.to_owned(),
        size_mb,
    };
    let made = daemon.client().volume_create(&new).await;
    made.unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

/// A volume for a new sandbox.
pub(crate) fn wanted(name: &str, mount: &str) -> PersistentVolume {
    PersistentVolume {
        name: name.to_owned(),
        mount: mount.to_owned(),
        ..PersistentVolume::default()
    }
}

/// The same, to be read alone.
pub(crate) fn read_only(name: &str, mount: &str) -> PersistentVolume {
    PersistentVolume {
        read_only: true,
        ..wanted(name, mount)
    }
}

/// Makes a sandbox with volumes.
pub(crate) async fn try_create(
    client: Client,
    name: &str,
    volumes: Vec<PersistentVolume>,
) -> Result<Guest, Error> {
    let new = CreateSandbox {
        name: Some(name.to_owned()),
        memory_mb: Some(MEMORY_MB),
        persistent_volumes: volumes,
        ..CreateSandbox::default()
    };
    client.sandbox_create(&new).await?;
    Ok(Guest::new(client, name))
}

/// Makes a sandbox with volumes.
pub(crate) async fn create(daemon: &Daemon, name: &str, volumes: Vec<PersistentVolume>) -> Guest {
    let made = try_create(daemon.client(), name, volumes).await;
    made.unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

/// Attaches a volume to be written to.
pub(crate) async fn attach(guest: &Guest, volume: &str, mount: &str) -> Result<(), Error> {
    let attach = AttachVolume {
        sandbox: guest.name().to_owned(),
        mount: mount.to_owned(),
        read_only: false,
    };
    let attached = guest.client().volume_attach(volume, &attach).await;
    attached.map(drop)
}

/// The status of a refusal, and what it says.
pub(crate) fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> (u16, String) {
    match result {
        Err(Error::Refused(refusal)) => (refusal.status.as_u16(), refusal.message.clone()),
        other => panic!("{other:?}"),
    }
}

/// Checks a detached volume's file system to its last bit.
pub(crate) async fn check(daemon: &Daemon, volume: &Volume) {
    let disk = daemon
        .storage()
        .join("volumes")
        .join(&volume.id)
        .join("disk.raw");
    let checked = Command::new("e2fsck")
        .args(["-f", "-n"])
        .arg(disk)
        .run()
        .await;
    if let Err(error) = checked {
        panic!("{}: {error}", volume.name);
    }
}
