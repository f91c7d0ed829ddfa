//! Which accelerator runs the machines: KVM if a small guest really boots under it.
//!
//! That `/dev/kvm` is there proves nothing: under some paravirtual KVMs a stock kernel dies in
//! its first milliseconds. So the guest kit is booted once, without a disk, and the answer is kept
//! for as long as the host, the kit and the VMM are the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bhatti_guest::link::{Greeting, Link};
use bhatti_host::{facts, files};
use bhatti_image::kit::Kit;
use bhatti_types::id::{DataDirId, SandboxId};
use bhatti_types::size::{MemoryMb, Vcpus};
use bhatti_vmm::error::VmmError;
use bhatti_vmm::machine::{Accelerator, Devices, MachineSpec, Vmm, file};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::config::AcceleratorChoice;
use crate::error::Error;
use crate::layout::Layout;

/// Time for the probe guest to answer. Under a KVM that works it takes well under a second.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// Time for a VMM whose sockets have closed to be gone.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Memory of the probe guest.
const PROBE_MEMORY_MB: u64 = 256;

/// What the probe found, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    boot_id: String,
    kit: String,
    vmm: String,
    accelerator: Accelerator,
    reason: String,
}

/// Finds the accelerator once and remembers it.
#[derive(Debug)]
pub struct Accelerators {
    choice: AcceleratorChoice,
    found: OnceCell<Accelerator>,
}

impl Accelerators {
    /// Follows a choice of the configuration.
    pub fn new(choice: AcceleratorChoice) -> Self {
        Self {
            choice,
            found: OnceCell::new(),
        }
    }

    /// What was found, if it was looked for already.
    pub fn known(&self) -> Option<Accelerator> {
        self.found.get().copied()
    }

    /// The accelerator for new machines. The first caller waits for the probe, the others for
    /// the first.
    pub(crate) async fn get(
        &self,
        vmm: &Arc<dyn Vmm>,
        layout: &Layout,
        data_dir: &DataDirId,
        kit: &Kit,
    ) -> Result<Accelerator, Error> {
        let found = self.found.get_or_try_init(|| async {
            match self.choice {
                AcceleratorChoice::Kvm => vmm
                    .version()
                    .await
                    .map(|_| Accelerator::Kvm)
                    .map_err(Error::from),
                AcceleratorChoice::Tcg => vmm
                    .version()
                    .await
                    .map(|_| Accelerator::Tcg)
                    .map_err(Error::from),
                AcceleratorChoice::Auto => find(vmm, layout, data_dir, kit).await,
            }
        });
        found.await.copied()
    }
}

async fn find(
    vmm: &Arc<dyn Vmm>,
    layout: &Layout,
    data_dir: &DataDirId,
    kit: &Kit,
) -> Result<Accelerator, Error> {
    let vmm_version = vmm.version().await?;
    let boot_id = facts::boot_id().map_err(Error::internal)?;
    let path = layout.accelerator();
    if let Some(known) = read(&path)
        && (&known.boot_id, known.kit.as_str(), known.vmm.as_str())
            == (&boot_id, kit.id.as_str(), vmm_version.as_str())
    {
        return Ok(known.accelerator);
    }
    let (accelerator, reason) = match probe(vmm, layout, data_dir, kit).await {
        Ok(()) => (Accelerator::Kvm, "a guest booted under KVM".to_owned()),
        Err(Probe::Refuted(reason)) => (Accelerator::Tcg, reason),
        Err(Probe::Unclear(reason)) => {
            // Asked again by the next daemon: this says nothing about the host's KVM.
            tracing::warn!(%reason, "KVM could not be tried; machines run in software emulation");
            return Ok(Accelerator::Tcg);
        }
    };
    if accelerator == Accelerator::Tcg {
        tracing::warn!(%reason, "KVM does not work on this host; machines run in software emulation, which is slow");
    }
    let known = Remembered {
        boot_id,
        kit: kit.id.as_str().to_owned(),
        vmm: vmm_version,
        accelerator,
        reason,
    };
    let bytes = serde_json::to_vec_pretty(&known).map_err(Error::internal)?;
    files::write_durable(&path, &bytes).map_err(Error::internal)?;
    Ok(accelerator)
}

fn read(path: &Path) -> Option<Remembered> {
    serde_json::from_slice(&files::read_bounded(path, 64 << 10).ok()?).ok()
}

/// Why KVM is not used.
enum Probe {
    /// It was tried, and does not work.
    Refuted(String),
    /// It could not be tried.
    Unclear(String),
}

/// Boots the kit under KVM.
async fn probe(
    vmm: &Arc<dyn Vmm>,
    layout: &Layout,
    data_dir: &DataDirId,
    kit: &Kit,
) -> Result<(), Probe> {
    if let Err(error) = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/kvm")
    {
        return Err(Probe::Unclear(format!(
            "/dev/kvm cannot be opened: {error}"
        )));
    }
    let unclear = |error: &dyn std::error::Error| Probe::Unclear(error.to_string());
    let sandbox = SandboxId::random();
    let dir = layout.scratch().join(sandbox.as_str());
    let memory = MemoryMb::new(PROBE_MEMORY_MB).map_err(|error| unclear(&error))?;
    fs_err::create_dir_all(&dir)
        .and_then(|()| files::create_sparse(&dir.join(file::MEMORY), memory.bytes()))
        .map_err(|error| unclear(&error))?;
    let spec = MachineSpec {
        data_dir: data_dir.clone(),
        sandbox,
        dir: dir.clone(),
        cpus: Vcpus::default(),
        memory,
        kernel: kit.kernel(),
        initrd: kit.initrd(),
        command_line: vec!["bhatti.probe=1".to_owned()],
        devices: Devices::V1,
        disk: false,
        volumes: Vec::new(),
        nic: None,
        accelerator: Accelerator::Kvm,
        state: None,
    };
    let result = boot(vmm, &spec).await;
    if let Err(error) = files::remove_tree(&dir) {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the probe's files were not deleted"
        );
    }
    result
}

async fn boot(vmm: &Arc<dyn Vmm>, spec: &MachineSpec) -> Result<(), Probe> {
    let machine = match vmm.launch(spec).await {
        Ok(machine) => machine,
        // QEMU itself gives up on a KVM that it can't use.
        Err(error @ VmmError::Ended { .. }) => return Err(Probe::Refuted(error.to_string())),
        Err(error) => return Err(Probe::Unclear(error.to_string())),
    };
    let answer = async {
        machine
            .resume()
            .await
            .map_err(|error| Probe::Unclear(error.to_string()))?;
        let stream = machine
            .agent()
            .await
            .map_err(|error| Probe::Unclear(error.to_string()))?;
        let greeting = Greeting {
            resync: false,
            limit: PROBE_LIMIT,
        };
        Link::open(stream, greeting)
            .await
            .map_err(|error| Probe::Refuted(error.to_string()))
    };
    let ended = |log: &str| Probe::Refuted(format!("the probe guest's VMM ended: {log}"));
    let result = tokio::select! {
        result = answer => result.map(drop),
        log = machine.ended() => Err(ended(&log)),
    };
    let result = match result {
        // Its sockets close a while before it is gone: that is what broke the conversation.
        Err(Probe::Unclear(reason)) => {
            match tokio::time::timeout(END_LIMIT, machine.ended()).await {
                Ok(log) => Err(ended(&log)),
                Err(_) => Err(Probe::Unclear(reason)),
            }
        }
        other => other,
    };
    machine
        .kill()
        .await
        .map_err(|error| Probe::Unclear(error.to_string()))?;
    result
}
