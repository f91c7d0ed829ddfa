//! Libvirt, as its users drive it: by `virsh`.
//!
//! | row | what is done |
//! |---|---|
//! | create | image disk cloned, `virsh define`, `virsh start`, the agent's hello |
//! | go cold | `virsh managedsave` |
//! | wake | `virsh start`, the agent's hello, a command |
//! | destroy | `virsh destroy`, `virsh undefine`, the disk deleted |
//!
//! The guest is the same: kernel, initrd, disk, shape, and the machine type of QEMU. The agent is
//! reached on the same virtio-serial port. Starting `virsh` is a part of every figure, as the
//! start of `bhatti` is of those by CLI.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bhatti_guest::link::{Greeting, Link};
use bhatti_host::command::Command;
use bhatti_host::{facts, files};
use bhatti_types::id::{DataDirId, SandboxId};
use bhatti_types::size::Vcpus;
use bhatti_vmm::machine::{Accelerator, Devices, MachineSpec, file};
use tokio::net::UnixStream;

use super::domain;
use crate::bare::machine;
use crate::bench::{MEMORY_MB, memory};
use crate::processor::Meter;
use crate::say::say;
use crate::site::{Artifacts, Site};

/// The daemon's address.
const URI: &str = "qemu:///system";
/// Longest time of a command of virsh.
const LIMIT: Duration = Duration::from_mins(2);
/// Time for a guest's agent to answer.
const BOOT_LIMIT: Duration = Duration::from_mins(2);
/// Pause between two looks for the agent's socket.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// The machine that sleeps and wakes.
const SLEEPER: &str = "sleeper";

/// Libvirt's daemon, and machines of this run in it.
#[derive(Debug)]
pub(crate) struct Libvirt {
    artifacts: Artifacts,
    dir: PathBuf,
    id: DataDirId,
    accelerator: Accelerator,
    sleeper: Option<LibvirtMachine>,
    /// Machines that libvirt knows.
    defined: Mutex<BTreeSet<String>>,
}

/// A machine of libvirt's.
#[derive(Debug)]
pub(crate) struct LibvirtMachine {
    name: String,
    dir: PathBuf,
    link: Option<Link>,
}

impl Libvirt {
    /// Finds libvirt's daemon; an error says how to have one. The machine that sleeps and wakes is
    /// made here, which is the warm-up.
    pub(crate) async fn connect(
        artifacts: &Artifacts,
        site: &Site,
        accelerator: Accelerator,
    ) -> anyhow::Result<Self> {
        virsh(&["version"]).await.context(
            "libvirt does not answer; install it (`apt-get install libvirt-daemon-system \
             libvirt-clients`) and start it (`systemctl start libvirtd`)",
        )?;
        if accelerator == Accelerator::Tcg && Path::new("/dev/kvm").exists() {
            // Seen with libvirt 9.0: what it has cached about QEMU says that KVM can't be used,
            // the device says that it can, so it starts QEMU to look again at every command.
            say(
                "    warning: there is a /dev/kvm that no guest boots under; unless libvirtd does \
                 not see it, libvirt takes seconds longer for everything",
            );
        }
        let dir = site.path("libvirt");
        fs_err::create_dir(&dir)?;
        let mut libvirt = Self {
            artifacts: artifacts.clone(),
            dir,
            id: site.bare_id.clone(),
            accelerator,
            sleeper: None,
            defined: Mutex::default(),
        };
        libvirt.sleeper = Some(libvirt.create(SLEEPER).await?);
        Ok(libvirt)
    }

    /// Counts the time of `virsh` and of the machines, and of the daemon.
    pub(crate) fn meter(&self) -> Meter {
        let daemon = ["/run/libvirtd.pid", "/run/virtqemud.pid"]
            .iter()
            .find_map(|path| fs_err::read_to_string(path).ok()?.trim().parse().ok());
        Meter::programs(format!("guest={}", self.domain("")), daemon)
    }

    /// The name of a domain. It carries the run's id, so that no other's domain is touched.
    fn domain(&self, name: &str) -> String {
        format!("bhatti-bench-{}-{name}", self.id)
    }

    /// Makes a machine and waits for its agent.
    pub(crate) async fn create(&self, name: &str) -> anyhow::Result<LibvirtMachine> {
        let dir = self.dir.join(name);
        fs_err::create_dir(&dir)?;
        files::clone_file(&self.artifacts.image.disk, &dir.join(file::DISK))?;
        let xml = dir.join("domain.xml");
        let mut machine = LibvirtMachine {
            name: self.domain(name),
            dir,
            link: None,
        };
        let description =
            domain::describe(&machine.name, &self.spec(&machine.dir)?, facts::tsc_khz())?;
        fs_err::write(&xml, description)?;
        self.with_defined(|defined| defined.insert(machine.name.clone()));
        virsh(&["define", path(&xml)?]).await?;
        virsh(&["start", &machine.name]).await?;
        machine.greet(Talk::New).await?;
        Ok(machine)
    }

    fn spec(&self, dir: &Path) -> anyhow::Result<MachineSpec> {
        Ok(MachineSpec {
            data_dir: self.id.clone(),
            sandbox: SandboxId::random(),
            dir: dir.to_owned(),
            cpus: Vcpus::default(),
            memory: memory(MEMORY_MB)?,
            kernel: self.artifacts.kit.kernel(),
            initrd: self.artifacts.kit.initrd(),
            command_line: vec!["bhatti.hostname=libvirt".to_owned()],
            // It brings its own.
            devices: Devices::V1,
            disk: true,
            volumes: Vec::new(),
            nic: None,
            accelerator: self.accelerator,
            state: None,
        })
    }

    /// Takes a machine away.
    pub(crate) async fn destroy(&self, machine: LibvirtMachine) -> anyhow::Result<()> {
        virsh(&["destroy", &machine.name]).await?;
        virsh(&["undefine", "--managed-save", &machine.name]).await?;
        self.with_defined(|defined| defined.remove(&machine.name));
        Ok(files::remove_tree(&machine.dir)?)
    }

    fn with_defined<T>(&self, change: impl FnOnce(&mut BTreeSet<String>) -> T) -> T {
        change(&mut self.defined.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn sleeper(&mut self) -> anyhow::Result<&mut LibvirtMachine> {
        self.sleeper.as_mut().context("libvirt's machine is gone")
    }

    /// Puts the machine that sleeps to disk.
    pub(crate) async fn save(&mut self) -> anyhow::Result<()> {
        let machine = self.sleeper()?;
        machine.link = None;
        virsh(&["managedsave", &machine.name]).await
    }

    /// Wakes it and runs a command in it.
    pub(crate) async fn wake(&mut self, argv: &[&str]) -> anyhow::Result<()> {
        let machine = self.sleeper()?;
        virsh(&["start", &machine.name]).await?;
        machine.greet(Talk::GoesOn).await?;
        machine.exec(argv).await
    }

    /// Takes the machines of this run away.
    pub(crate) async fn leave(mut self) -> anyhow::Result<()> {
        match self.sleeper.take() {
            Some(machine) => self.destroy(machine).await,
            None => Ok(()),
        }
    }
}

/// Whether the agent may stand in an older conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Talk {
    New,
    GoesOn,
}

impl LibvirtMachine {
    async fn greet(&mut self, talk: Talk) -> anyhow::Result<()> {
        let socket = self.dir.join(file::AGENT_SOCKET);
        let connect = async {
            loop {
                match UnixStream::connect(&socket).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
                }
            }
        };
        let stream = tokio::time::timeout(BOOT_LIMIT, connect)
            .await
            .context("libvirt's machine has no agent socket")?;
        let greeting = Greeting {
            resync: talk == Talk::GoesOn,
            limit: BOOT_LIMIT,
        };
        self.link = Some(Link::open(stream, greeting).await?);
        Ok(())
    }

    /// Runs a command to its end.
    pub(crate) async fn exec(&self, argv: &[&str]) -> anyhow::Result<()> {
        let link = self.link.as_ref().context("no link to libvirt's machine")?;
        machine::exec(link, argv).await
    }
}

/// Runs a command of virsh to its end.
async fn virsh(args: &[&str]) -> anyhow::Result<()> {
    Command::new("virsh")
        .args(["--connect", URI, "--quiet"])
        .args(args)
        .limit(LIMIT)
        .run()
        .await?;
    Ok(())
}

fn path(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the path is not text")
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        // Only what a run that was broken off has left; the others were taken away by now.
        for name in self
            .defined
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            for args in [
                vec!["destroy", name],
                vec!["undefine", "--managed-save", name],
            ] {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "nothing can be waited for by the runtime in a drop"
                )]
                let mut virsh = std::process::Command::new("virsh");
                let silent = || std::process::Stdio::null();
                virsh.args(["--connect", URI, "--quiet"]).args(args);
                virsh.stdin(silent()).stdout(silent()).stderr(silent());
                // A machine that does not run can't be destroyed, which is as well.
                let _ = virsh.status();
            }
        }
    }
}
