//! The engine's hold on a process of the fake VMM.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bhatti_host::memory::{Captured, MemoryError};
use bhatti_host::process::ProcessId;
use bhatti_vmm::error::VmmError;
use bhatti_vmm::machine::{AgentStream, Halt, Machine, RunState, VolumeDisk};

use super::fault::Call;
use super::guest::Vcpus;
use super::host::{self, FakeHost};
use super::process::Process;

/// How often a save looks whether it is still wanted.
const SAVE_LOOKS: u32 = 3;
/// The time between two such looks.
const SAVE_LOOK: Duration = Duration::from_millis(1);

/// A fake machine.
pub(super) struct FakeMachine {
    host: FakeHost,
    process: Arc<Process>,
}

impl FakeMachine {
    pub(super) fn new(host: FakeHost, process: Arc<Process>) -> Self {
        Self { host, process }
    }

    async fn call<T: Send>(
        &self,
        call: Call,
        effect: impl FnOnce() -> Result<T, VmmError> + Send,
    ) -> Result<T, VmmError> {
        self.host.call(call, Some(&self.process), effect).await
    }
}

#[async_trait]
impl Machine for FakeMachine {
    fn process(&self) -> ProcessId {
        self.process.id
    }

    async fn resume(&self) -> Result<(), VmmError> {
        self.call(Call::Resume, || {
            self.process.resume();
            Ok(())
        })
        .await
    }

    async fn pause(&self) -> Result<(), VmmError> {
        self.call(Call::Pause, || {
            self.process.guest.pause();
            Ok(())
        })
        .await
    }

    async fn run_state(&self) -> Result<RunState, VmmError> {
        self.call(Call::RunState, || {
            Ok(match self.process.guest.vcpus() {
                Vcpus::Running => RunState::Running,
                Vcpus::Paused => RunState::Paused,
                Vcpus::Gone => RunState::Over,
            })
        })
        .await
    }

    async fn save(
        &self,
        state: &Path,
        memory: &Path,
        cancel: &Arc<AtomicBool>,
    ) -> Result<Captured, VmmError> {
        // Takes a while, so that others come in between.
        for _ in 0..SAVE_LOOKS {
            tokio::time::sleep(SAVE_LOOK).await;
            if cancel.load(Ordering::Relaxed) {
                return Err(MemoryError::Cancelled.into());
            }
        }
        self.call(Call::Save, || {
            let number = self.host.number();
            host::save(&self.process, number, state, memory).map_err(|source| VmmError::Files {
                action: "save the machine",
                source,
            })?;
            Ok(Captured {
                private_pages: 1,
                ..Captured::default()
            })
        })
        .await
    }

    async fn plug(&self, volume: &VolumeDisk) -> Result<(), VmmError> {
        self.call(Call::Plug, || self.host.plug(&self.process, volume))
            .await
    }

    async fn unplug(&self, slot: u8) -> Result<(), VmmError> {
        self.call(Call::Unplug, || {
            self.host.unplug(&self.process, slot);
            Ok(())
        })
        .await
    }

    async fn grow(&self, slot: u8, bytes: u64) -> Result<(), VmmError> {
        self.call(Call::Grow, || {
            let grown = self.process.volumes.grow(slot, bytes);
            grown.map_err(|source| VmmError::Files {
                action: "grow a disk",
                source,
            })
        })
        .await
    }

    async fn agent(&self) -> Result<Box<dyn AgentStream>, VmmError> {
        let stream = self
            .call(Call::Agent, || Ok(self.process.connect()))
            .await?;
        Ok(Box::new(stream))
    }

    async fn console(&self) -> String {
        String::new()
    }

    async fn halted(&self) -> Halt {
        self.process.halted().await
    }

    async fn ended(&self) -> String {
        self.process.ended().await
    }

    async fn kill(&self) -> Result<(), VmmError> {
        // Success if it is gone already, so not a call of a living process.
        let kill = || {
            self.host.reap(&self.process, "killed by the daemon");
            Ok(())
        };
        self.host.call(Call::Kill, None, kill).await
    }
}
