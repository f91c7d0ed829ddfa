//! Bare machines that go on from an image and are given what a new machine has to have: a durable
//! disk, an identity of their own, and a durable record of their being there.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bhatti_guest::identity::Identity;
use bhatti_host::files;
use bhatti_types::id::hex;
use bhatti_types::size::MemoryMb;
use bhatti_vmm::machine::file;
use tokio::task::JoinHandle;

use super::machine::{Bare, BareMachine, image};

/// Time for a guest to take its identity, and to set its clock.
const CALL_LIMIT: Duration = Duration::from_mins(1);
/// Randomness that a copy is given, in bytes: as much as bhatti gives.
const ENTROPY: usize = 64;
/// Length of a record, in bytes: about that of a sandbox's.
const RECORD: usize = 512;

impl Bare {
    /// A new machine from a template, a checkpoint, or what was captured for a fork: the disk
    /// cloned and synced, the memory linked, QEMU started on it, the state loaded, vCPUs on, the
    /// agent's hello, an identity, a record.
    pub(crate) async fn fork(&self, from: &Path, memory: MemoryMb) -> anyhow::Result<BareMachine> {
        let (machine, synced) = self.begin(from, memory).await?;
        machine.identify().await?;
        synced.await??;
        self.record().await?;
        Ok(machine)
    }

    /// The same before it has an identity and a record, its vCPUs paused.
    pub(crate) async fn stock(&self, from: &Path, memory: MemoryMb) -> anyhow::Result<BareMachine> {
        let (mut machine, synced) = self.begin(from, memory).await?;
        machine.pause().await?;
        synced.await??;
        Ok(machine)
    }

    /// A machine that has answered, and the syncing of its disk.
    async fn begin(
        &self,
        from: &Path,
        memory: MemoryMb,
    ) -> anyhow::Result<(BareMachine, JoinHandle<std::io::Result<()>>)> {
        let dir = self.new_dir()?;
        let disk = dir.join(file::DISK);
        files::clone_file(&from.join(image::DISK), &disk)?;
        // It is written out while QEMU starts.
        let synced = tokio::task::spawn_blocking(move || files::sync_file(&disk));
        fs_err::hard_link(from.join(image::MEMORY), dir.join(file::MEMORY))?;
        let state = Some(from.join(image::STATE));
        Ok((self.start(dir, memory, state).await?, synced))
    }

    /// Writes down, durably, that something has become of a machine.
    pub(crate) async fn record(&self) -> anyhow::Result<()> {
        let path = self.records();
        let write = move || -> std::io::Result<()> {
            let mut records = fs_err::OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)?;
            records.write_all(&[b'x'; RECORD])?;
            records.sync_data()
        };
        Ok(tokio::task::spawn_blocking(write).await??)
    }
}

impl BareMachine {
    /// Tells the guest who it is: a new machine.
    pub(crate) async fn identify(&self) -> anyhow::Result<()> {
        let mut random = [0; ENTROPY + 16];
        getrandom::fill(&mut random)?;
        let (entropy, machine_id) = random.split_at(ENTROPY);
        let identity = Identity {
            hostname: "bare".to_owned(),
            machine_id: Some(hex(machine_id)),
            entropy: entropy.to_vec(),
            unix_nanos: Some(unix_nanos()?),
            fresh: true,
            ..Identity::default()
        };
        Ok(self.link().identity(&identity, CALL_LIMIT).await?)
    }

    /// Tells the guest what time it is.
    pub(crate) async fn set_clock(&self) -> anyhow::Result<()> {
        Ok(self.link().set_clock(unix_nanos()?, CALL_LIMIT).await?)
    }
}

fn unix_nanos() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as u64)
}
