//! What a sandbox's task does for a rollback.

use bhatti_host::process::ProcessId;
use bhatti_lifecycle::decide::{Decision, Request, decide};
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_store::snapshot::{SnapshotRow, SnapshotStatus};
use bhatti_types::id::SnapshotId;
use bhatti_types::name::{SandboxName, SnapshotName};
use jiff::Timestamp;

use super::actor::Actor;
use super::work::{Material, Saved, Trust};
use crate::checkpoint::SavedVolume;
use crate::error::Error;
use crate::rollback::{KEPT, kept_name};
use crate::view::RolledBackView;
use crate::volumes::copies::are_the_same;

/// What a failed rollback has left of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Machine {
    /// The process is the same, or there is none as there was none.
    AsBefore,
    /// It was ended.
    Another,
}

impl Actor {
    fn process(&self) -> Option<ProcessId> {
        self.work.machine.as_ref().map(|machine| machine.process())
    }

    /// Puts the sandbox back to one of its checkpoints. What it is now is captured first.
    pub(super) async fn rollback(
        &mut self,
        to: SnapshotRow,
        volumes: Vec<SavedVolume>,
        force: bool,
    ) -> Result<RolledBackView, Error> {
        let state = self.work.state();
        match decide(state, Request::Rollback { force }) {
            Decision::Accept(_) => {}
            Decision::Deny(denied) => return Err(self.denied(denied)),
            Decision::Already => return Err(Error::internal("a rollback is never done already")),
        }
        if !are_the_same(&self.work.volumes, &volumes) {
            return Err(other_volumes(&self.work.row.name, &to.name));
        }
        let ctx = self.work.ctx.clone();
        ctx.refuse_if_going_down()?;
        let _room = if state.has_machine() {
            None
        } else {
            Some(ctx.admission.room(self.work.row.memory, None).await?)
        };
        // Nobody gets its link from now on: what is done over it would be undone.
        self.work.leases.close();
        let kept = match state {
            State::Hot | State::Warm | State::Cold => Some(self.keep(&to.name).await?),
            State::Creating | State::Off | State::Failed | State::Destroying => None,
        };
        let before = self.process();
        self.work.material = Material::Saved(Saved {
            dir: self.work.ctx.layout.snapshot(&to.id),
            trust: Trust::Manifest,
            accelerator: to.accelerator.clone(),
            snapshot: Some(to.id.clone()),
            volumes,
        });
        // For the record of a daemon that does not come to the end of this.
        let kept_in = kept.as_ref().map_or_else(String::new, |name| {
            format!("; what it was before is in checkpoint {name}")
        });
        let to_name = &to.name;
        let reason = self.work.row.reason.replace(format!(
            "the rollback to {to_name} was cut off{kept_in}; it boots from its disk at the next \
             start"
        ));
        let result = self.work.run(PlanKind::Rollback).await;
        self.work.material = Material::None;
        if let Err(error) = result {
            self.work.row.reason = reason;
            let machine = if self.process() == before {
                Machine::AsBefore
            } else {
                Machine::Another
            };
            self.after_failure(&to.name, kept.as_ref(), &error, machine)
                .await;
            return Err(error);
        }
        self.forget_oldest_kept().await;
        Ok(RolledBackView {
            sandbox: self.work.view(),
            kept,
        })
    }

    /// Takes the checkpoint of what the sandbox is now.
    async fn keep(&mut self, to: &SnapshotName) -> Result<SnapshotName, Error> {
        let (user, own) = (self.work.row.user.clone(), self.work.row.name.clone());
        let taken = self
            .work
            .ctx
            .db(move |store| store.snapshot_list(Some(&user)))
            .await?;
        let taken: Vec<&str> = taken.iter().map(|row| row.name.as_str()).collect();
        let row = &self.work.row;
        let kept = SnapshotRow {
            id: SnapshotId::random(),
            user: row.user.clone(),
            name: kept_name(&own, to, &taken),
            source_sandbox: own,
            source_id: row.id.clone(),
            status: SnapshotStatus::Creating,
            cpus: row.cpus,
            memory: row.memory,
            disk: row.disk,
            image: row.image.clone(),
            env: row.env.clone(),
            labels: row.labels.clone(),
            run_as: row.run_as.clone(),
            workdir: row.workdir.clone(),
            kit: row.kit.clone(),
            engine: row.engine.clone(),
            accelerator: row.accelerator.clone(),
            stall_ms: 0,
            disk_bytes: 0,
            created_at: Timestamp::now(),
            automatic: true,
            egress: row.egress.clone(),
            init: row.init,
            run: row.run.clone(),
        };
        let inserted = kept.clone();
        // It counts against no limit.
        self.work
            .ctx
            .db(move |store| store.snapshot_insert(&inserted, 0))
            .await?;
        let kind = if self.work.state().has_machine() {
            PlanKind::Keep
        } else {
            PlanKind::CheckpointCold
        };
        Ok(self.capture(kind, Box::new(kept)).await?.name)
    }

    /// Deletes all but the last few automatic checkpoints. The rollback is done by now, so a
    /// failure is only told.
    async fn forget_oldest_kept(&self) {
        let (ctx, id, user) = (
            &self.work.ctx,
            self.work.row.id.clone(),
            self.work.row.user.clone(),
        );
        let forgotten = async {
            let mut rows = ctx
                .db(move |store| store.snapshot_list(Some(&user)))
                .await?;
            rows.retain(|row| {
                row.automatic && row.source_id == id && row.status == SnapshotStatus::Ready
            });
            // Oldest first.
            let surplus = rows.len().saturating_sub(KEPT);
            for row in rows.into_iter().take(surplus) {
                ctx.snapshot_delete(&row.user, &row.name).await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = forgotten.await {
            tracing::warn!(
                sandbox = %self.work.row.id,
                error = &error as &dyn std::error::Error,
                "an old automatic checkpoint was not deleted"
            );
        }
    }

    /// Clears up after a rollback that failed: tells the sandbox's owner if it cost the memory,
    /// and leaves nothing behind if the sandbox is as it was.
    async fn after_failure(
        &mut self,
        to: &SnapshotName,
        kept: Option<&SnapshotName>,
        error: &Error,
        machine: Machine,
    ) {
        let done = match (self.work.state(), machine) {
            (State::Off, _) => {
                let kept = kept.map_or_else(String::new, |name| {
                    format!("; what it was before is in checkpoint {name}")
                });
                self.work.row.reason = Some(format!("the rollback to {to} failed: {error}{kept}"));
                self.work.commit(State::Off).await
            }
            // Its record may still say that the rollback was cut off.
            (State::Cold, Machine::AsBefore) => match self.as_before(kept).await {
                Ok(()) => self.work.commit(State::Cold).await,
                failed => failed,
            },
            (State::Hot | State::Warm, Machine::AsBefore) => self.as_before(kept).await,
            (State::Hot | State::Warm | State::Cold, Machine::Another)
            | (State::Creating | State::Failed | State::Destroying, _) => Ok(()),
        };
        if let Err(error) = done {
            tracing::error!(
                sandbox = %self.work.row.id,
                error = &error as &dyn std::error::Error,
                "a failed rollback was not cleared up after"
            );
        }
    }

    async fn as_before(&mut self, kept: Option<&SnapshotName>) -> Result<(), Error> {
        if self.work.state() == State::Hot {
            // It was paused for the capture, and a plan that did not begin did not unwind that.
            self.work.machine()?.resume().await?;
        }
        match kept {
            Some(kept) => {
                let user = self.work.row.user.clone();
                self.work.ctx.snapshot_delete(&user, kept).await
            }
            None => Ok(()),
        }
    }
}

/// The checkpoint's memory knows of volumes that are not there now, or not as they were.
fn other_volumes(name: &SandboxName, to: &SnapshotName) -> Error {
    Error::Conflict {
        message: format!(
            "sandbox {:?} does not have the volumes that it had at checkpoint {:?}",
            name.as_str(),
            to.as_str()
        ),
        hint: Some(format!(
            "attach them again as they were, or make a new sandbox of it: `bhatti snapshot resume \
             {to}`"
        )),
    }
}
