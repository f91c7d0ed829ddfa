//! Starts QEMU processes and finds them again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bhatti_host::command::{Command, CommandError};
use bhatti_host::process::{self, Detached, Process, ProcessId};
use bhatti_host::{facts, files};
use bhatti_types::id::DataDirId;
use serde_json::json;
use tracing::Instrument as _;

use super::arguments;
use super::machine::{self, QemuMachine};
use crate::error::VmmError;
use crate::machine::{Found, Machine, MachineSpec, Nic, RunState, Tap, Vmm, file};

/// Time for QEMU to open its control socket and greet. It maps files and builds tables before.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Time for device state to be loaded.
const LOAD_LIMIT: Duration = Duration::from_secs(30);
/// Time for an adopted QEMU to greet; it runs already, so it only has to answer.
/// Its main loop may be writing to a slow disk.
const ADOPT_LIMIT: Duration = Duration::from_mins(2);
/// Longest pause between two looks at a QEMU that is loading its state.
const POLL_MAX: Duration = Duration::from_millis(20);

/// The QEMU engine.
#[derive(Debug, Clone)]
pub struct Qemu {
    program: PathBuf,
}

impl Qemu {
    /// Uses this program: a name looked up on the usual path, or a path.
    pub fn new(program: PathBuf) -> Self {
        Self { program }
    }

    async fn start(&self, spec: &MachineSpec) -> Result<Arc<QemuMachine>, VmmError> {
        let remove = |name: &str| files::remove_file(&spec.dir.join(name));
        remove(file::CONTROL_SOCKET)
            .and_then(|()| remove(file::AGENT_SOCKET))
            .and_then(|()| remove(file::LOG))
            .map_err(|source| VmmError::Files {
                action: "clear old sockets",
                source,
            })?;
        let detached = Detached {
            program: self.program.clone(),
            args: arguments::build(spec, facts::tsc_khz()),
            dir: spec.dir.clone(),
            log: spec.dir.join(file::LOG),
            stdin: match &spec.nic {
                Some(Nic {
                    tap: Tap::Open(tap),
                    ..
                }) => Some(tap.clone()),
                _ => None,
            },
        };
        let process = Process::start(&detached).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => VmmError::NoProgram {
                program: self.program.to_string_lossy().into_owned(),
            },
            _ => VmmError::Start(source),
        })?;
        let machine = QemuMachine::connect(spec.dir.clone(), process, START_LIMIT)
            .instrument(tracing::debug_span!("vmm-connect"))
            .await?;
        if let Some(state) = &spec.state {
            load(&machine, state)
                .instrument(tracing::debug_span!("vmm-load"))
                .await?;
        }
        Ok(Arc::new(machine))
    }
}

#[async_trait]
impl Vmm for Qemu {
    fn name(&self) -> &'static str {
        "qemu"
    }

    async fn version(&self) -> Result<String, VmmError> {
        let output = Command::new(&self.program)
            .arg("--version")
            .limit(START_LIMIT)
            .run()
            .await
            .map_err(|error| match error {
                CommandError::NotFound { program } => VmmError::NoProgram { program },
                other => VmmError::Start(io::Error::other(other)),
            })?;
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    async fn launch(&self, spec: &MachineSpec) -> Result<Arc<dyn Machine>, VmmError> {
        match self.start(spec).await {
            Ok(machine) => Ok(machine),
            Err(error) => {
                // Found by its mark, for the error may have come before it was connected to.
                for found in self.find(&spec.data_dir, &spec.dir).await? {
                    if found.sandbox == spec.sandbox {
                        self.end(found.process).await?;
                    }
                }
                Err(error)
            }
        }
    }

    async fn adopt(
        &self,
        dir: &Path,
        process: ProcessId,
    ) -> Result<Option<Arc<dyn Machine>>, VmmError> {
        let Some(process) = Process::adopt(process).map_err(VmmError::Start)? else {
            return Ok(None);
        };
        if process.has_ended() {
            return Ok(None);
        }
        let machine = QemuMachine::connect(dir.to_owned(), process, ADOPT_LIMIT).await?;
        Ok(Some(Arc::new(machine)))
    }

    async fn find(&self, data_dir: &DataDirId, root: &Path) -> Result<Vec<Found>, VmmError> {
        let (data_dir, root) = (data_dir.clone(), root.to_owned());
        let look = move || -> io::Result<Vec<Found>> {
            let root = fs_err::canonicalize(root)?;
            let marked = process::find_by_argument(&arguments::mark(&data_dir))?;
            let found = marked.into_iter().filter_map(|found| {
                // A copied data directory has its original's id; its machines are not there.
                if !found.dir.starts_with(&root) {
                    return None;
                }
                let mut args = found.args.iter();
                let sandbox = args.find_map(|arg| arguments::marked_sandbox(arg, &data_dir))?;
                Some(Found {
                    sandbox,
                    process: found.id,
                })
            });
            Ok(found.collect())
        };
        let found = tokio::task::spawn_blocking(look)
            .await
            .map_err(io::Error::other);
        found
            .and_then(|found| found)
            .map_err(|source| VmmError::Files {
                action: "look through the processes",
                source,
            })
    }

    async fn end(&self, process: ProcessId) -> Result<(), VmmError> {
        match Process::adopt(process).map_err(VmmError::Start)? {
            Some(process) => machine::kill(&process).await,
            None => Ok(()),
        }
    }
}

/// Loads device state into a QEMU started with `-incoming defer`.
async fn load(machine: &QemuMachine, state: &Path) -> Result<(), VmmError> {
    let opened = fs_err::File::open(state).map_err(|source| VmmError::Files {
        action: "open the device state",
        source,
    })?;
    let fd = std::os::fd::AsFd::as_fd(opened.file());
    machine
        .command_with("getfd", json!({ "fdname": "state" }), Some(fd))
        .await?;
    machine
        .command("migrate-incoming", json!({ "uri": "fd:state" }))
        .await?;
    let loaded = async {
        let mut pause = Duration::from_millis(1);
        loop {
            // A state that can't be loaded makes QEMU exit, which `command` reports.
            match machine.status().await?.as_str() {
                "inmigrate" => {}
                "paused" | "prelaunch" => return Ok(()),
                _ if machine.run_state().await? == RunState::Over => {
                    return Err(machine.over("load the saved state"));
                }
                _ => {
                    return Err(VmmError::Protocol {
                        command: "migrate-incoming",
                    });
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    };
    tokio::time::timeout(LOAD_LIMIT, loaded)
        .await
        .map_err(|_| VmmError::Timeout {
            action: "load the saved state",
            limit: LOAD_LIMIT,
        })?
}
