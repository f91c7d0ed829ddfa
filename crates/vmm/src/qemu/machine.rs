//! One running QEMU.

use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use bhatti_host::memory::{self, Captured};
use bhatti_host::process::{Process, ProcessId};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};
use tokio::net::UnixStream;

use super::qmp::Qmp;
use crate::error::VmmError;
use crate::machine::{AgentStream, Halt, Machine, RunState, VolumeDisk, file};

/// Time for a control command. `stop` waits for the disk to drain.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// Time for a process whose sockets have closed to be gone.
const GONE_LIMIT: Duration = Duration::from_secs(5);
/// Time for a killed process to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// How much of the log's end is told, in bytes.
const LOG_TOLD: u64 = 2048;

pub(super) struct QemuMachine {
    dir: PathBuf,
    process: Process,
    qmp: Qmp,
}

impl QemuMachine {
    /// Waits for the control socket of a started process and connects to it. On an error the
    /// process is left as it is.
    pub(super) async fn connect(
        dir: PathBuf,
        process: Process,
        limit: Duration,
    ) -> Result<Self, VmmError> {
        let connect = async {
            let mut pause = Duration::from_millis(1);
            loop {
                match connect_in(&dir, file::CONTROL_SOCKET).await {
                    Ok(stream) => return Ok(stream),
                    Err(_) if process.has_ended() => {
                        process.ended().await;
                        return Err(VmmError::Ended {
                            action: "start",
                            log: log_end(&dir),
                        });
                    }
                    // Not there yet: QEMU opens it about 30 ms after it is started.
                    Err(_) => tokio::time::sleep(pause).await,
                }
                pause = (pause * 2).min(Duration::from_millis(5));
            }
        };
        let stream =
            tokio::time::timeout(limit, connect)
                .await
                .map_err(|_| VmmError::Timeout {
                    action: "open its control socket",
                    limit,
                })??;
        let qmp = match Qmp::negotiate(stream, limit).await {
            Ok(qmp) => qmp,
            Err(error @ VmmError::Control(_)) => {
                // It opens its sockets before it looks at its accelerator.
                let gone = tokio::time::timeout(GONE_LIMIT, process.ended()).await;
                return Err(match gone {
                    Ok(()) => VmmError::Ended {
                        action: "start",
                        log: log_end(&dir),
                    },
                    Err(_) => error,
                });
            }
            Err(error) => return Err(error),
        };
        Ok(Self { dir, process, qmp })
    }

    pub(super) async fn command(
        &self,
        command: &'static str,
        arguments: Value,
    ) -> Result<Value, VmmError> {
        self.command_with(command, arguments, None).await
    }

    /// Runs a control command; if the connection breaks because QEMU has ended, says so.
    pub(super) async fn command_with(
        &self,
        command: &'static str,
        arguments: Value,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Value, VmmError> {
        match self
            .qmp
            .execute_with(command, arguments, fd, COMMAND_LIMIT)
            .await
        {
            Err(VmmError::Control(source)) => {
                let gone = tokio::time::timeout(GONE_LIMIT, self.process.ended());
                match gone.await {
                    Ok(()) => Err(self.over(command)),
                    Err(_) => Err(VmmError::Control(source)),
                }
            }
            other => other,
        }
    }

    pub(super) fn over(&self, action: &'static str) -> VmmError {
        VmmError::Ended {
            action,
            log: log_end(&self.dir),
        }
    }

    /// QEMU's word for its run state.
    pub(super) async fn status(&self) -> Result<String, VmmError> {
        let status = self.command("query-status", json!({})).await?;
        match status.get("status").and_then(Value::as_str) {
            Some(word) => Ok(word.to_owned()),
            None => Err(VmmError::Protocol {
                command: "query-status",
            }),
        }
    }
}

#[async_trait]
impl Machine for QemuMachine {
    fn process(&self) -> ProcessId {
        self.process.id()
    }

    async fn resume(&self) -> Result<(), VmmError> {
        self.command("cont", json!({})).await.map(drop)
    }

    async fn pause(&self) -> Result<(), VmmError> {
        self.command("stop", json!({})).await.map(drop)
    }

    async fn run_state(&self) -> Result<RunState, VmmError> {
        // The words of `RunState` in QEMU's qapi/run-state.json.
        Ok(match self.status().await?.as_str() {
            "running" => RunState::Running,
            // A disk that was full or failed stops the vCPUs; `cont` tries again.
            "io-error" | "paused" | "prelaunch" | "inmigrate" | "postmigrate" | "save-vm"
            | "restore-vm" | "finish-migrate" | "suspended" => RunState::Paused,
            _ => RunState::Over,
        })
    }

    async fn save(
        &self,
        state: &Path,
        memory: &Path,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Captured, VmmError> {
        let Some(path) = state.to_str() else {
            return Err(VmmError::Protocol {
                command: "xen-save-devices-state",
            });
        };
        // With `live: true` QEMU would also let go of the disk's lock, for another to take over.
        self.command(
            "xen-save-devices-state",
            json!({ "filename": path, "live": false }),
        )
        .await?;
        let (pid, base, to, cancel) = (
            self.process.id().pid,
            self.dir.join(file::MEMORY),
            memory.to_owned(),
            cancel.clone(),
        );
        tokio::task::spawn_blocking(move || memory::capture(pid, &base, &to, &cancel))
            .await
            .map_err(|source| VmmError::Files {
                action: "copy memory",
                source: std::io::Error::other(source),
            })?
            .map_err(VmmError::Memory)
    }

    async fn plug(&self, volume: &VolumeDisk) -> Result<(), VmmError> {
        self.plug_volume(volume).await
    }

    async fn unplug(&self, slot: u8) -> Result<(), VmmError> {
        self.unplug_volume(slot).await
    }

    async fn grow(&self, slot: u8, bytes: u64) -> Result<(), VmmError> {
        self.grow_volume(slot, bytes).await
    }

    async fn agent(&self) -> Result<Box<dyn AgentStream>, VmmError> {
        match connect_in(&self.dir, file::AGENT_SOCKET).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(_) if self.process.has_ended() => Err(self.over("open the agent link")),
            Err(source) => Err(VmmError::Files {
                action: "open the agent link",
                source,
            }),
        }
    }

    async fn console(&self) -> String {
        let arguments = json!({ "device": "console", "size": 16384, "format": "utf8" });
        match self
            .qmp
            .execute("ringbuf-read", arguments, Duration::from_secs(2))
            .await
        {
            Ok(Value::String(text)) => text,
            Ok(_) | Err(_) => String::new(),
        }
    }

    async fn halted(&self) -> Halt {
        self.qmp.halted().await
    }

    async fn ended(&self) -> String {
        self.process.ended().await;
        log_end(&self.dir)
    }

    async fn kill(&self) -> Result<(), VmmError> {
        kill(&self.process).await
    }
}

/// Ends a process at once and waits until it is gone, but not for ever: one that hangs in the
/// kernel can't be ended.
pub(super) async fn kill(process: &Process) -> Result<(), VmmError> {
    match tokio::time::timeout(KILL_LIMIT, process.kill()).await {
        Ok(result) => result.map_err(VmmError::Start),
        Err(_) => Err(VmmError::Timeout {
            action: "end",
            limit: KILL_LIMIT,
        }),
    }
}

/// The end of the VMM's log, for diagnosis.
fn log_end(dir: &Path) -> String {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> std::io::Result<String> {
        let mut file = fs_err::File::open(dir.join(file::LOG))?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(LOG_TOLD)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TOLD).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_else(|error| format!("its log could not be read: {error}"))
}

/// Connects to a unix socket in a directory, however long the directory's path is: the address of
/// a unix socket holds 107 bytes, so the directory is named by a file descriptor.
async fn connect_in(dir: &Path, name: &str) -> std::io::Result<UnixStream> {
    let dir: OwnedFd = rustix::fs::open(
        dir,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())).await
}
