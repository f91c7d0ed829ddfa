//! Forks: copies of a sandbox that go on from one instant of it.
//!
//! ```text
//! names, limits, memory, disk ──► records of all copies ──► source: one capture ──► copies,
//!                                 in one transaction                              side by side
//! ```
//! It is all or nothing: what was made is taken away again if one copy fails. A daemon that is
//! cut off leaves the copies that were whole by then, and no trace of the others.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bhatti_host::files;
use bhatti_host::pool::settings::StorageKind;
use bhatti_lifecycle::plan::PlanKind;
use bhatti_lifecycle::state::State;
use bhatti_store::sandbox::SandboxRow;
use bhatti_types::id::{SandboxId, hex};
use bhatti_types::invalid::Invalid;
use bhatti_types::name::SandboxName;
use bhatti_types::parent::Parent;
use bhatti_vmm::machine::file;
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::checkpoint::SavedVolume;
use crate::context::Context;
use crate::engine::{Engine, limits};
use crate::error::{Error, Kind};
use crate::request::{Caller, Copies, NewCopies};
use crate::sandbox::actor::Actor;
use crate::sandbox::handle::Handle;
use crate::sandbox::work::{ForkPoint, Material, Saved, Work};
use crate::view::SandboxView;
use crate::volumes::copies::{self, NewVolumes};

/// A copy whose record is there and whose making has not begun.
struct Unmade {
    name: SandboxName,
    handle: Handle,
    actor: Actor,
}

/// What became of a copy.
enum Outcome {
    Made(Handle, Box<SandboxView>),
    /// It has left nothing behind.
    Failed(SandboxName, Error),
    /// Another one had failed before.
    NotBegun(SandboxId),
}

impl Engine {
    /// Makes copies of a sandbox that go on from one instant of it, in the order of their names:
    /// the given one, or with `-1`, `-2` and so on after it if there are several. The source goes on, and one
    /// that is paused or sleeps stays so.
    pub async fn sandbox_fork(
        &self,
        caller: &Caller,
        key: &str,
        new: NewCopies,
    ) -> Result<Vec<SandboxView>, Error> {
        let (engine, caller, key) = (self.clone(), caller.clone(), key.to_owned());
        self.owned(async move { engine.fork(&caller, &key, new).await })
            .await
    }

    /// [`Engine::sandbox_fork`] within a request that goes on by itself.
    pub(crate) async fn fork(
        &self,
        caller: &Caller,
        key: &str,
        new: NewCopies,
    ) -> Result<Vec<SandboxView>, Error> {
        let source = self.find(caller, key)?;
        let row = self.source_row(&source).await?;
        let names = copy_names(&row.name, new.name.as_ref(), new.count)?;
        let user = self.ctx.user_row(&caller.user).await?;
        limits(&user).check(row.cpus, row.memory)?;
        self.ctx.refuse_if_going_down()?;
        let mut rooms = Vec::new();
        for _ in 0..new.count.get() {
            rooms.push(self.ctx.admission.room(row.memory, new.wait).await?);
        }
        self.admit_copies(&row, new.count).await?;
        let source_id = row.id.clone();
        let attached = self.ctx.db(move |store| store.attached_to(&source_id));
        let volumes = copies::saved(&attached.await?);
        let limits = (user.max_sandboxes, user.max_volume_mb);
        let unmade = self.record_copies(&row, names, limits, &volumes).await?;

        let dir = self.ctx.layout.forks().join(random_name()?);
        let point = ForkPoint {
            dir: dir.clone(),
            stall: Duration::ZERO,
        };
        let forked = match source.fork(point).await {
            Ok(forked) if forked.saved.volumes == volumes => forked,
            Ok(_) => {
                self.forget(unmade.iter().map(|copy| copy.handle.id.clone()).collect())
                    .await;
                self.remove_capture(dir).await;
                return Err(Error::Conflict {
                    message: format!("the volumes of {:?} changed meanwhile", row.name.as_str()),
                    hint: Some("fork it again".to_owned()),
                });
            }
            Err(error) => {
                self.forget(unmade.iter().map(|copy| copy.handle.id.clone()).collect())
                    .await;
                return Err(error);
            }
        };
        tracing::info!(
            source = %row.id,
            copies = new.count.get(),
            stall_ms = forked.stall.as_millis() as u64,
            "captured for copies"
        );
        let outcomes = self.make_copies(unmade, &forked.saved).await;
        self.remove_capture(dir).await;
        self.all_or_nothing(outcomes).await
    }

    async fn remove_capture(&self, dir: PathBuf) {
        let removed = Context::blocking(move || files::remove_tree(&dir)).await;
        if let Err(error) = removed.and_then(|removed| removed.map_err(Error::internal)) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "what a fork captured was left to the next start"
            );
        }
    }

    async fn source_row(&self, source: &Handle) -> Result<SandboxRow, Error> {
        let id = source.id.clone();
        let row = self.ctx.db(move |store| store.sandbox_get(&id)).await?;
        row.ok_or_else(|| Error::NotFound {
            kind: Kind::Sandbox,
            name: source.now().view.name.to_string(),
        })
    }

    /// Refuses what the disk has no room for: the captured memory, which is at most all of it, and
    /// the disks where they can't share their blocks.
    async fn admit_copies(&self, row: &SandboxRow, copies: Copies) -> Result<(), Error> {
        let disk = self.ctx.layout.sandbox(&row.id).join(file::DISK);
        let disks = match self.ctx.storage.kind() {
            StorageKind::Reflink | StorageKind::Pool => 0,
            StorageKind::Copy => {
                let used = Context::blocking(move || files::disk_usage(&disk)).await?;
                // The capture itself holds one more.
                used.unwrap_or_default() * (u64::from(copies.get()) + 1)
            }
        };
        self.ctx.room_on_disk(row.memory.bytes() + disks).await
    }

    /// Records all copies, so that their names are theirs and they count, or none.
    async fn record_copies(
        &self,
        source: &SandboxRow,
        names: Vec<SandboxName>,
        (limit, max_volume_mb): (u32, u32),
        volumes: &[SavedVolume],
    ) -> Result<Vec<Unmade>, Error> {
        let (mut unmade, mut rows) = (Vec::new(), Vec::new());
        for name in names {
            let row = copy_row(source, name.clone());
            let mut actor = Actor::new(
                Work::new(self.ctx.clone(), row.clone(), None),
                self.directory.clone(),
            );
            let handle = actor
                .take_handle()
                .ok_or_else(|| Error::internal("a new task has no handle"))?;
            rows.push((row, handle.clone()));
            unmade.push(Unmade {
                name,
                handle,
                actor,
            });
        }
        let directory = self.directory.clone();
        let volumes = NewVolumes::copied(volumes.to_vec(), max_volume_mb);
        // Entered in the directory within the transaction, as in a create.
        let inserted = self.ctx.db(move |store| {
            store.write(|txn| {
                let mut attached = Vec::new();
                for (row, _) in &rows {
                    txn.sandbox_insert(row, limit)?;
                    attached.push(volumes.record(txn, &row.user, &row.id, &row.name)?);
                }
                for (_, handle) in rows {
                    directory.insert(handle);
                }
                Ok(attached)
            })
        });
        match inserted.await {
            Ok(attached) => {
                for (copy, attached) in unmade.iter_mut().zip(attached) {
                    copy.actor.work.volumes = attached;
                }
                Ok(unmade)
            }
            Err(error) => {
                for copy in &unmade {
                    self.directory.remove(&copy.handle.id);
                }
                Err(error)
            }
        }
    }

    /// Makes the copies, as many at once as there are cores.
    async fn make_copies(&self, unmade: Vec<Unmade>, saved: &Saved) -> Vec<Outcome> {
        let at_once = thread::available_parallelism().map_or(1, usize::from);
        let failed = AtomicBool::new(false);
        let failed = &failed;
        let making = unmade.into_iter().map(|copy| async move {
            let Unmade {
                name,
                handle,
                actor,
            } = copy;
            if failed.load(Ordering::Relaxed) {
                return Outcome::NotBegun(handle.id);
            }
            let (made, result) = oneshot::channel();
            let (material, span) = (Material::Saved(saved.clone()), tracing::Span::current());
            actor.spawn(|actor| actor.make(PlanKind::Resume, material, made, span));
            match result.await.map_err(Error::internal) {
                Ok(Ok(view)) => Outcome::Made(handle, Box::new(view)),
                Ok(Err(error)) | Err(error) => {
                    failed.store(true, Ordering::Relaxed);
                    Outcome::Failed(name, error)
                }
            }
        });
        // In their order, however they come to their ends.
        stream::iter(making).buffered(at_once).collect().await
    }

    /// Gives all copies, or takes away what was made.
    async fn all_or_nothing(&self, outcomes: Vec<Outcome>) -> Result<Vec<SandboxView>, Error> {
        let (mut views, mut handles, mut not_begun) = (Vec::new(), Vec::new(), Vec::new());
        let mut broken = None;
        for outcome in outcomes {
            match outcome {
                Outcome::Made(handle, view) => {
                    views.push(*view);
                    handles.push(handle);
                }
                Outcome::Failed(name, error) => {
                    broken.get_or_insert((name, error));
                }
                Outcome::NotBegun(id) => not_begun.push(id),
            }
        }
        let Some((name, error)) = broken else {
            return Ok(views);
        };
        self.forget(not_begun).await;
        for handle in handles {
            if let Err(error) = handle.destroy().await {
                tracing::error!(
                    sandbox = %handle.id,
                    error = &error as &dyn std::error::Error,
                    "a copy of a fork that failed was left"
                );
            }
        }
        Err(of_copy(&name, error))
    }

    /// Takes back the records of copies that were not begun.
    async fn forget(&self, ids: Vec<SandboxId>) {
        for id in &ids {
            self.directory.remove(id);
        }
        let forgotten = self.ctx.db(move |store| {
            store.write(|txn| ids.iter().try_for_each(|id| txn.sandbox_delete(id)))
        });
        if let Err(error) = forgotten.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "records of copies were left to the next start"
            );
        }
    }
}

/// What the copies of a source are called: as asked for, or after the source, and numbered if
/// there are several.
fn copy_names(
    source: &SandboxName,
    name: Option<&SandboxName>,
    copies: Copies,
) -> Result<Vec<SandboxName>, Invalid> {
    let base = name.map_or_else(|| format!("{source}-fork"), SandboxName::to_string);
    if copies == Copies::ONE {
        return Ok(vec![base.parse()?]);
    }
    (1..=copies.get())
        .map(|number| format!("{base}-{number}").parse())
        .collect()
}

/// The record of a copy that is about to be made.
fn copy_row(source: &SandboxRow, name: SandboxName) -> SandboxRow {
    let (status, thermal) = State::Creating.shown();
    SandboxRow {
        id: SandboxId::random(),
        name,
        status,
        thermal,
        reason: None,
        resumed_from: None,
        machine: None,
        created_at: Timestamp::now(),
        stopped_at: None,
        used_at: None,
        wake_at: None,
        address: None,
        parent: Some(Parent::Sandbox(source.id.clone())),
        ..source.clone()
    }
}

/// A name in the forks' directory that nobody else has.
fn random_name() -> Result<String, Error> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(Error::internal)?;
    Ok(hex(&random))
}

/// An error, with the copy that it befell.
fn of_copy(name: &SandboxName, error: Error) -> Error {
    let message = format!(
        "copy {:?} could not be made, so none was kept: {error}",
        name.as_str()
    );
    match error {
        Error::Stopping => Error::Stopping,
        Error::Unavailable { hint, .. } => Error::Unavailable { message, hint },
        other => Error::Failed {
            message,
            hint: other.hint().map(str::to_owned),
            source: Some(Box::new(other)),
        },
    }
}

#[cfg(test)]
mod test {
    use super::{Copies, copy_names};

    fn names(name: Option<&str>, copies: u64) -> Vec<String> {
        let name = name.map(|name| name.parse().unwrap());
        let copies = Copies::new(copies).unwrap();
        let names = copy_names(&"agent".parse().unwrap(), name.as_ref(), copies);
        names.unwrap().into_iter().map(String::from).collect()
    }

    #[test]
    fn copies_are_named_as_asked_and_numbered_if_there_are_several() {
        assert_eq!(names(Some("try"), 1), ["try"]);
        assert_eq!(names(Some("try"), 3), ["try-1", "try-2", "try-3"]);
        assert_eq!(names(None, 1), ["agent-fork"]);
        assert_eq!(names(None, 2), ["agent-fork-1", "agent-fork-2"]);
    }

    #[test]
    fn a_name_that_is_too_long_with_its_number_is_refused() {
        let name = "x".repeat(62).parse().unwrap();
        let source = "agent".parse().unwrap();
        assert!(copy_names(&source, Some(&name), Copies::ONE).is_ok());
        assert!(copy_names(&source, Some(&name), Copies::new(2).unwrap()).is_err());
    }

    #[test]
    fn there_is_at_least_one_copy_and_not_too_many() {
        assert!(Copies::new(0).is_err());
        assert!(Copies::new(101).is_err());
        assert_eq!(Copies::new(100).unwrap().get(), 100);
    }
}
