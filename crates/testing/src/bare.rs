//! A machine without a daemon: a VMM, a guest in it, and the link to its agent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bhatti_guest::exec::{Command, ExecEvent, ExitStatus};
use bhatti_guest::link::{Greeting, Link};
use bhatti_host::files;
use bhatti_image::catalog::{Catalog, Owner};
use bhatti_image::kit::KitStore;
use bhatti_types::env::Env;
use bhatti_types::id::{DataDirId, SandboxId};
use bhatti_types::size::{MemoryMb, Vcpus};
use bhatti_vmm::machine::{Accelerator, Devices, Machine, MachineSpec, Nic, Vmm as _, file};
use bhatti_vmm::qemu::launcher::Qemu;

use crate::artifacts;

/// Time for a guest to boot, on a machine where others do so too.
const BOOT_LIMIT: Duration = Duration::from_mins(3);
/// Time limit of one shell line.
const LINE_LIMIT: Duration = Duration::from_mins(1);

/// What a machine is to have besides the base image and 256 MiB.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// More words for the kernel's command line.
    pub command_line: Vec<String>,
    /// A network card.
    pub nic: Option<Nic>,
}

/// A running machine. Its VMM is ended and its files are deleted when this is dropped.
pub struct BareMachine {
    // Before the directory, which the VMM has open.
    machine: Guard,
    link: Link,
    _dir: tempfile::TempDir,
}

/// Ends the VMM also when the test fails.
struct Guard(Arc<dyn Machine>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.process().pid as i32) {
            // It may be gone already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

impl BareMachine {
    /// Boots one with the guest kit and the base image, and greets its agent.
    ///
    /// # Panics
    /// If it does not come up.
    pub async fn boot(wanted: Wanted) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let spec = spec(dir.path(), wanted);
        let machine = Qemu::new("qemu-system-x86_64".into())
            .launch(&spec)
            .await
            .expect("it starts");
        let machine = Guard(machine);
        machine.0.resume().await.expect("it runs");
        let stream = machine.0.agent().await.expect("there is a link");
        let greeting = Greeting {
            resync: false,
            limit: BOOT_LIMIT,
        };
        let link = Link::open(stream, greeting).await;
        Self {
            machine,
            link: link.expect("the agent answers"),
            _dir: dir,
        }
    }

    /// The machine.
    pub fn machine(&self) -> &dyn Machine {
        &*self.machine.0
    }

    /// The link to its agent.
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Runs a shell line as root and gives what it wrote, with how it ended.
    ///
    /// # Panics
    /// If it can't be run.
    pub async fn try_sh(&self, line: &str) -> (String, ExitStatus) {
        let command = Command {
            argv: ["sh", "-c", line].map(str::to_owned).to_vec(),
            env: Env::default(),
            cwd: None,
            user: Some("root".to_owned()),
            timeout: Some(LINE_LIMIT),
            stdin: false,
        };
        let mut exec = self.link.exec(&command).await.expect("the command starts");
        let mut text = String::new();
        loop {
            match exec.output.next().await.expect("the link holds") {
                Some(ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes)) => {
                    text.push_str(&String::from_utf8_lossy(&bytes));
                }
                Some(ExecEvent::Exit(status)) => return (text, status),
                None => panic!("the output of {line} ended without an exit"),
            }
        }
    }

    /// Runs a shell line as root and gives what it wrote, without the last line's end.
    ///
    /// # Panics
    /// If it can't be run, or fails.
    pub async fn sh(&self, line: &str) -> String {
        let (text, status) = self.try_sh(line).await;
        assert_eq!(status, ExitStatus::Code(0), "{line}: {text}");
        text.trim_end().to_owned()
    }
}

/// The machine's files, made in `dir`, and what the VMM is told of them.
fn spec(dir: &Path, wanted: Wanted) -> MachineSpec {
    artifacts::install(dir);
    let kits = KitStore::open(dir.join("kits")).expect("the kits open");
    let kit = kits.current().expect("there is a kit");
    let images = Catalog::open(dir.join("images")).expect("the images open");
    let base = images
        .get(&Owner::Host, &"base".parse().expect("a name"))
        .expect("the images are read")
        .expect("there is a base image");
    let machine = dir.join("machine");
    fs_err::create_dir(&machine).expect("a directory can be made");
    files::clone_file(&base.disk, &machine.join(file::DISK)).expect("the disk is cloned");
    let memory = MemoryMb::new(256).expect("a size");
    files::create_sparse(&machine.join(file::MEMORY), memory.bytes()).expect("it is made");
    MachineSpec {
        data_dir: DataDirId::random(),
        sandbox: SandboxId::random(),
        dir: machine,
        cpus: Vcpus::default(),
        memory,
        kernel: kit.kernel(),
        initrd: kit.initrd(),
        command_line: wanted.command_line,
        volumes: Vec::new(),
        devices: Devices::V2,
        disk: true,
        nic: wanted.nic,
        accelerator: Accelerator::Tcg,
        state: None,
    }
}
