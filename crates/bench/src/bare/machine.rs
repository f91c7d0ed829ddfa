//! A bare machine: QEMU and the agent, nobody in between.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bhatti_guest::exec::{Command, Exec, ExecEvent, ExitStatus};
use bhatti_guest::link::{Greeting, Link};
use bhatti_host::process::{Detached, Process};
use bhatti_host::{facts, files, memory};
use bhatti_types::id::{DataDirId, SandboxId};
use bhatti_types::size::{MemoryMb, Vcpus};
use bhatti_vmm::machine::{Accelerator, Devices, MachineSpec, file};
use bhatti_vmm::qemu::arguments;
use serde_json::json;
use tokio::net::UnixStream;

use super::qmp::Qmp;
use crate::site::Artifacts;

/// Time for a guest to boot; one under software emulation on a busy host takes its time.
const BOOT_LIMIT: Duration = Duration::from_mins(2);
/// Time for the agent to sync the guest's file systems.
const SYNC_LIMIT: Duration = Duration::from_mins(1);
/// Pause between two looks at a QEMU that is loading: little against the 8 ms that takes.
const LOOK_AGAIN: Duration = Duration::from_micros(500);
/// The program.
const QEMU: &str = "qemu-system-x86_64";

/// Files of a machine's image, as bhatti names them too.
pub(crate) mod image {
    /// Device state.
    pub(crate) const STATE: &str = "state";
    /// Memory.
    pub(crate) const MEMORY: &str = "mem";
    /// The disk, in checkpoints.
    pub(crate) const DISK: &str = "disk.raw";
}

/// Makes bare machines.
#[derive(Debug)]
pub(crate) struct Bare {
    /// What they are made of.
    pub(crate) artifacts: Artifacts,
    /// Where they are made.
    dir: PathBuf,
    id: DataDirId,
    accelerator: Accelerator,
    made: AtomicU32,
}

/// A bare machine. It lives until it is ended, or until the run's directory is dropped.
#[derive(Debug)]
pub(crate) struct BareMachine {
    dir: PathBuf,
    process: Process,
    qmp: Qmp,
    link: Link,
}

impl Bare {
    /// Makes machines under `dir` that carry this id.
    pub(crate) fn new(
        artifacts: Artifacts,
        dir: PathBuf,
        id: DataDirId,
        accelerator: Accelerator,
    ) -> Self {
        Self {
            artifacts,
            dir,
            id,
            accelerator,
            made: AtomicU32::new(0),
        }
    }

    /// What the machines' processes are marked with.
    pub(crate) fn mark(&self) -> String {
        arguments::mark(&self.id)
    }

    /// What runs the guests.
    pub(crate) fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// The file in which is written down what becomes of machines.
    pub(super) fn records(&self) -> PathBuf {
        self.dir.join("records")
    }

    pub(super) fn new_dir(&self) -> anyhow::Result<PathBuf> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(number.to_string());
        fs_err::create_dir(&dir)?;
        Ok(dir)
    }

    /// Clones the image's disk, boots, and waits for the agent's hello. The disk is durable then;
    /// it is written out while the guest boots.
    pub(crate) async fn boot(&self, memory: MemoryMb) -> anyhow::Result<BareMachine> {
        let dir = self.new_dir()?;
        let disk = dir.join(file::DISK);
        files::clone_file(&self.artifacts.image.disk, &disk)?;
        files::create_sparse(&dir.join(file::MEMORY), memory.bytes())?;
        let synced = tokio::task::spawn_blocking(move || files::sync_file(&disk));
        let machine = self.start(dir, memory, None).await?;
        synced.await??;
        Ok(machine)
    }

    /// The same machine goes on from what [`BareMachine::sleep`] has written: its memory is mapped,
    /// its disk moved here, and that it is awake written down.
    pub(crate) async fn wake(
        &self,
        from: &Path,
        memory: MemoryMb,
        disk: &Path,
    ) -> anyhow::Result<BareMachine> {
        let dir = self.new_dir()?;
        fs_err::rename(disk, dir.join(file::DISK))?;
        fs_err::hard_link(from.join(image::MEMORY), dir.join(file::MEMORY))?;
        // That it was used, which is to hold before a vCPU runs.
        self.record().await?;
        self.start(dir, memory, Some(from.join(image::STATE))).await
    }

    pub(super) async fn start(
        &self,
        dir: PathBuf,
        memory: MemoryMb,
        state: Option<PathBuf>,
    ) -> anyhow::Result<BareMachine> {
        let spec = MachineSpec {
            data_dir: self.id.clone(),
            sandbox: SandboxId::random(),
            dir: dir.clone(),
            cpus: Vcpus::default(),
            memory,
            kernel: self.artifacts.kit.kernel(),
            initrd: self.artifacts.kit.initrd(),
            command_line: vec!["bhatti.hostname=bare".to_owned()],
            devices: Devices::V2,
            disk: true,
            volumes: Vec::new(),
            nic: None,
            accelerator: self.accelerator,
            state,
        };
        let process = Process::start(&Detached {
            program: QEMU.into(),
            args: arguments::build(&spec, facts::tsc_khz()),
            dir: dir.clone(),
            log: dir.join(file::LOG),
            stdin: None,
        })?;
        let started = async {
            let mut qmp = Qmp::connect(&dir.join(file::CONTROL_SOCKET), &process).await?;
            if let Some(state) = &spec.state {
                load_state(&mut qmp, state).await?;
            }
            qmp.run("cont", json!({})).await?;
            let stream = UnixStream::connect(dir.join(file::AGENT_SOCKET)).await?;
            let greeting = Greeting {
                resync: spec.state.is_some(),
                limit: BOOT_LIMIT,
            };
            anyhow::Ok((qmp, Link::open(stream, greeting).await?))
        };
        match started.await {
            Ok((qmp, link)) => Ok(BareMachine {
                dir,
                process,
                qmp,
                link,
            }),
            Err(error) => {
                process.kill().await?;
                let log = fs_err::read_to_string(dir.join(file::LOG)).unwrap_or_default();
                Err(error.context(format!("the bare machine did not start: {}", log.trim())))
            }
        }
    }
}

async fn load_state(qmp: &mut Qmp, state: &Path) -> anyhow::Result<()> {
    let opened = fs_err::File::open(state)?;
    let fd = std::os::fd::AsFd::as_fd(opened.file());
    qmp.run_with("getfd", json!({ "fdname": "state" }), Some(fd))
        .await?;
    qmp.run("migrate-incoming", json!({ "uri": "fd:state" }))
        .await?;
    loop {
        let status = qmp.run("query-status", json!({})).await?;
        if status["status"] != "inmigrate" {
            return Ok(());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

impl BareMachine {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id().pid
    }

    /// Its disk.
    pub(crate) fn disk(&self) -> PathBuf {
        self.dir.join(file::DISK)
    }

    /// Runs a command to its end.
    pub(crate) async fn exec(&self, argv: &[&str]) -> anyhow::Result<()> {
        exec(&self.link, argv).await
    }

    /// Its link, for many commands at once.
    pub(crate) fn link(&self) -> Link {
        self.link.clone()
    }

    /// Starts a command.
    pub(crate) async fn start(&self, argv: &[&str]) -> anyhow::Result<Exec> {
        let command = Command {
            stdin: true,
            ..command(argv)
        };
        Ok(self.link.exec(&command).await?)
    }

    /// Pauses vCPUs.
    pub(crate) async fn pause(&mut self) -> anyhow::Result<()> {
        self.qmp.run("stop", json!({})).await?;
        Ok(())
    }

    /// Lets vCPUs run.
    pub(crate) async fn go_on(&mut self) -> anyhow::Result<()> {
        self.qmp.run("cont", json!({})).await?;
        Ok(())
    }

    /// Pauses vCPUs, writes state, memory and disk of that instant into `to`, and lets vCPUs run.
    /// Nothing is durable yet.
    pub(crate) async fn capture(&mut self, to: &Path) -> anyhow::Result<()> {
        self.pause().await?;
        self.save(to).await?;
        let (disk, copy) = (self.disk(), to.join(image::DISK));
        tokio::task::spawn_blocking(move || files::clone_file(&disk, &copy)).await??;
        self.go_on().await
    }

    async fn save(&mut self, to: &Path) -> anyhow::Result<()> {
        let state = to.join(image::STATE);
        // `true` would let go of the disk, and drop it from the page cache when vCPUs go on.
        let arguments = json!({ "filename": state, "live": false });
        self.qmp.run("xen-save-devices-state", arguments).await?;
        let (pid, base) = (self.pid(), self.dir.join(file::MEMORY));
        let memory = to.join(image::MEMORY);
        tokio::task::spawn_blocking(move || {
            memory::capture(pid, &base, &memory, &AtomicBool::new(false))
        })
        .await??;
        Ok(())
    }

    /// Puts it to disk, durably: the guest syncs, vCPUs pause, state and memory go into `to`, all
    /// is synced, that it sleeps is written down, and QEMU is ended. Gives the disk.
    pub(crate) async fn sleep(mut self, to: &Path, bare: &Bare) -> anyhow::Result<PathBuf> {
        self.link.sync(SYNC_LIMIT).await?;
        self.pause().await?;
        self.save(to).await?;
        let (disk, dir) = (self.disk(), to.to_owned());
        tokio::task::spawn_blocking(move || {
            sync_all(&dir)?;
            files::sync_file(&disk)
        })
        .await??;
        bare.record().await?;
        self.process.kill().await?;
        Ok(self.disk())
    }

    /// Ends QEMU and deletes the machine's files.
    pub(crate) async fn destroy(self) -> anyhow::Result<()> {
        self.process.kill().await?;
        tokio::task::spawn_blocking(move || files::remove_tree(&self.dir)).await??;
        Ok(())
    }
}

/// Makes the files of a directory durable, and their names.
pub(crate) fn sync_all(dir: &Path) -> std::io::Result<()> {
    for entry in fs_err::read_dir(dir)? {
        files::sync_file(&entry?.path())?;
    }
    files::sync_dir(dir)
}

/// Runs a command over a link to its end.
pub(crate) async fn exec(link: &Link, argv: &[&str]) -> anyhow::Result<()> {
    let mut exec = link.exec(&command(argv)).await?;
    loop {
        match exec.output.next().await?.context("a command has no end")? {
            ExecEvent::Stdout(_) | ExecEvent::Stderr(_) => {}
            ExecEvent::Exit(ExitStatus::Code(0)) => return Ok(()),
            ExecEvent::Exit(other) => anyhow::bail!("{argv:?} ended with {other:?}"),
        }
    }
}

fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        ..Command::default()
    }
}

#[cfg(test)]
mod test {
    use bhatti_types::size::MemoryMb;
    use bhatti_vmm::machine::Accelerator;

    use super::Bare;
    use crate::site::{self, Site};

    #[tokio::test]
    async fn a_bare_machine_boots_is_captured_and_goes_on_from_there() {
        let parent = tempfile::tempdir().unwrap();
        let site = Site::make(parent.path()).unwrap();
        let cache = bhatti_testing::artifacts::cache();
        let artifacts = site::install(&cache, &site.data()).unwrap();
        let id = site.bare_id.clone();
        let bare = Bare::new(artifacts, site.bare(), id, Accelerator::Tcg);
        let memory = MemoryMb::new(256).unwrap();
        let mut machine = bare.boot(memory).await.unwrap();
        machine.exec(&["/bin/true"]).await.unwrap();
        machine.exec(&["/bin/false"]).await.unwrap_err();
        machine
            .exec(&["sh", "-c", "echo here > /dev/shm/word"])
            .await
            .unwrap();
        let image = site.path("image");
        fs_err::create_dir(&image).unwrap();
        machine.capture(&image).await.unwrap();
        machine.destroy().await.unwrap();
        let mut copy = bare.fork(&image, memory).await.unwrap();
        copy.exec(&["grep", "here", "/dev/shm/word"]).await.unwrap();
        copy.pause().await.unwrap();
        copy.go_on().await.unwrap();
        copy.set_clock().await.unwrap();
        copy.exec(&["/bin/true"]).await.unwrap();
        copy.destroy().await.unwrap();
    }
}
