//! What a sandbox's task does about its volumes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bhatti_guest::volumes::Volume;
use bhatti_image::kit::KitId;
use bhatti_lifecycle::decide::{Denied, Request};
use bhatti_lifecycle::state::State;
use bhatti_store::attachment::AttachedVolume;
use bhatti_types::id::VolumeId;
use bhatti_types::size::VolumeMb;
use bhatti_vmm::machine::VolumeDisk;

use super::actor::Actor;
use super::files::{blocking, clone};
use super::steps::CALL_LIMIT;
use super::work::Work;
use crate::checkpoint::volume_file;
use crate::context::Context;
use crate::error::{Error, Kind};
use crate::view::SandboxView;
use crate::volumes::copies::{self, Wanted};
use crate::volumes::disk;

/// Time for a guest to mount or unmount a volume: it may have much to write, or a journal to play
/// back.
const MOUNT_LIMIT: Duration = Duration::from_mins(1);
/// Longest that a volume stands still while it is copied.
const FREEZE_AT_MOST: Duration = Duration::from_secs(10);
/// Time for a guest that is about to end to write its volumes out.
const SETTLE_LIMIT: Duration = Duration::from_secs(20);
/// The first set of devices that volumes can be plugged into.
const FIRST_DEVICES: u32 = 2;

/// What a machine gets its volumes for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attaching {
    /// It is new, or was asked to: it is refused if it can't have one.
    Asked,
    /// It has just booted. Its owner may need it to find out what is wrong, so it goes on without
    /// what it can't have.
    Boot,
    /// The same of one that has them, unless an earlier daemon was cut off.
    Again,
}

fn in_guest(volume: &AttachedVolume) -> Volume {
    Volume {
        serial: volume.at.serial.clone(),
        mount: volume.at.mount.clone(),
        read_only: volume.at.read_only,
    }
}

impl Work {
    fn disk_of(&self, volume: &AttachedVolume) -> VolumeDisk {
        VolumeDisk {
            slot: volume.at.slot,
            serial: volume.at.serial.clone(),
            path: self.ctx.layout.volume_disk(&volume.at.volume),
            read_only: volume.at.read_only,
        }
    }

    /// The disks that a machine which goes on from saved state begins with.
    pub(super) fn volume_disks(&self) -> Vec<VolumeDisk> {
        self.volumes.iter().map(|it| self.disk_of(it)).collect()
    }

    /// The files of the volumes that it may write to.
    fn written_volumes(&self) -> Vec<(u8, PathBuf)> {
        let written = self.volumes.iter().filter(|it| !it.at.read_only);
        let path = |it: &AttachedVolume| self.ctx.layout.volume_disk(&it.at.volume);
        written.map(|it| (it.at.slot, path(it))).collect()
    }

    /// The files of all disks that it may write to.
    pub(super) fn written_disks(&self) -> Vec<PathBuf> {
        let own = self.dir().join(bhatti_vmm::machine::file::DISK);
        let volumes = self.written_volumes().into_iter().map(|(_, path)| path);
        std::iter::once(own).chain(volumes).collect()
    }

    /// Plugs its volumes in and has the guest mount them.
    pub(super) async fn attach_volumes(&mut self, why: Attaching) -> Result<(), Error> {
        let mut volumes = self.volumes.clone();
        // What is mounted inside of another comes after it.
        volumes.sort_by(|a, b| a.at.mount.cmp(&b.at.mount));
        for volume in &volumes {
            let attached = self.attach_volume(volume, why).await;
            match attached {
                Err(error) if why != Attaching::Asked => {
                    tracing::warn!(
                        sandbox = %self.row.id,
                        volume = %volume.name,
                        error = &error as &dyn std::error::Error,
                        "a machine goes on without a volume"
                    );
                    self.row.reason = Some(format!(
                        "volume {} is not mounted: {error}; detach it, or start the sandbox anew",
                        volume.name
                    ));
                }
                other => other?,
            }
        }
        Ok(())
    }

    async fn attach_volume(&self, volume: &AttachedVolume, why: Attaching) -> Result<(), Error> {
        let kit: KitId = self.row.kit.parse().map_err(Error::internal)?;
        if self.ctx.kits.get(&kit)?.manifest.devices < FIRST_DEVICES {
            return Err(Error::Conflict {
                message: format!(
                    "sandbox {:?} has a guest kit of before there were volumes",
                    self.row.name.as_str()
                ),
                hint: Some("make a new sandbox".to_owned()),
            });
        }
        let new = self.disk_of(volume);
        let (path, size) = (new.path.clone(), volume.size);
        blocking(move || disk::lengthen(&path, size)).await?;
        // One that may write has it for itself. What is only read was checked before the first who
        // read it, and nobody has written to it since.
        if why == Attaching::Boot && !volume.at.read_only {
            let dir = self.ctx.layout.volume(&volume.at.volume);
            disk::check(dir, volume.name.as_str()).await?;
        }
        let machine = self.machine()?;
        machine.plug(&new).await?;
        self.link()?
            .mount_volume(&in_guest(volume), MOUNT_LIMIT)
            .await?;
        Ok(())
    }

    async fn detach_volume(&self, volume: &AttachedVolume) -> Result<(), Error> {
        let unmounted = self
            .link()?
            .unmount_volume(&in_guest(volume), MOUNT_LIMIT)
            .await;
        if let Err(bhatti_guest::link::CallError::Refused {
            kind: bhatti_guest::link::RefusedKind::Busy,
            ..
        }) = unmounted
        {
            return Err(Error::Conflict {
                message: format!(
                    "something in sandbox {:?} uses volume {:?}",
                    self.row.name.as_str(),
                    volume.name.as_str()
                ),
                hint: Some(format!(
                    "end what has files open under {}, or stop the sandbox and start it by force",
                    volume.at.mount
                )),
            });
        }
        unmounted?;
        Ok(self.machine()?.unplug(volume.at.slot).await?)
    }

    /// Puts copies of its volumes into a directory. Nobody writes to them meanwhile.
    pub(super) async fn copy_volumes(&self, to: &Path) -> Result<(), Error> {
        let layout = self.ctx.layout.clone();
        let to = to.to_owned();
        let volumes = self.volumes.clone();
        blocking(move || {
            volumes.iter().try_for_each(|it| {
                let file = to.join(volume_file(it.at.slot));
                clone(&layout.volume_disk(&it.at.volume), &file)
            })
        })
        .await
    }

    /// Makes the volumes that are this sandbox's own, as copies of what was saved.
    pub(super) async fn copy_saved_volumes(&self, saved: &Path) -> Result<(), Error> {
        let layout = self.ctx.layout.clone();
        let saved = saved.to_owned();
        let own: Vec<_> = self
            .volumes
            .iter()
            .filter(|it| it.at.owned)
            .cloned()
            .collect();
        if own.is_empty() {
            return Ok(());
        }
        blocking(move || {
            own.iter().try_for_each(|it| {
                let id = &it.at.volume;
                let (half, whole) = (layout.volume_half(id), layout.volume(id));
                disk::copy(&saved.join(volume_file(it.at.slot)), &half, &whole, it.size)
            })
        })
        .await
    }

    /// Puts copies of the saved contents next to what the machine is put back to.
    pub(super) fn volumes_aside(&self) -> Vec<(String, PathBuf, VolumeMb)> {
        let written = self.volumes.iter().filter(|it| !it.at.read_only);
        let aside = |it: &AttachedVolume| {
            let path = self.ctx.layout.volume_disk(&it.at.volume);
            (volume_file(it.at.slot), path, it.size)
        };
        written.map(aside).collect()
    }

    /// Has its guest write out what it has of volumes that stay when the machine goes. It is ended
    /// all the same if it does not. One that sleeps has done that before.
    pub(super) async fn settle_volumes(&self) {
        let stay = |it: &AttachedVolume| !it.at.read_only && !it.at.owned;
        if !self.volumes.iter().any(stay) {
            return;
        }
        let (Some(machine), Some(link)) = (&self.machine, &self.link) else {
            return;
        };
        let settled = async {
            if self.state() == State::Warm {
                machine.resume().await?;
            }
            link.sync(SETTLE_LIMIT).await?;
            Ok::<_, Error>(())
        };
        if let Err(error) = settled.await {
            tracing::warn!(
                sandbox = %self.row.id,
                error = &error as &dyn std::error::Error,
                "a guest that ends did not write its volumes out"
            );
        }
    }

    /// Deletes the volumes that go away with it.
    pub(super) async fn remove_own_volumes(&self) -> Result<(), Error> {
        let own = self.volumes.iter().filter(|it| it.at.owned);
        let dirs: Vec<_> = own
            .flat_map(|it| {
                let id = &it.at.volume;
                [self.ctx.layout.volume_half(id), self.ctx.layout.volume(id)]
            })
            .collect();
        blocking(move || {
            dirs.iter()
                .try_for_each(|dir| bhatti_host::files::remove_tree(dir))
        })
        .await
    }
}

impl Actor {
    fn volume(&self, id: &VolumeId) -> Result<AttachedVolume, Error> {
        let mut volumes = self.work.volumes.iter();
        let found = volumes.find(|it| it.at.volume == *id);
        found.cloned().ok_or_else(|| Error::Conflict {
            message: format!(
                "the volume is not attached to sandbox {:?}",
                self.work.row.name.as_str()
            ),
            hint: None,
        })
    }

    /// Has the machine there, if there is memory that knows of its volumes: then the change is
    /// made in the running machine. Says whether it is there.
    async fn awake(&mut self) -> Result<bool, Error> {
        match self.work.state() {
            State::Off => Ok(false),
            State::Creating => Err(self.denied(Denied::BeingCreated)),
            State::Destroying => Err(self.denied(Denied::BeingDestroyed)),
            State::Hot | State::Warm | State::Cold | State::Failed => {
                self.wake(Request::Wake).await?;
                Ok(true)
            }
        }
    }

    /// Gives it a volume that is claimed and checked.
    pub(super) async fn attach(&mut self, wanted: Wanted) -> Result<SandboxView, Error> {
        let is_awake = self.awake().await?;
        let id = self.work.row.id.clone();
        let volume = wanted.volume.clone();
        let recorded = self.work.ctx.db(move |store| {
            store.write(|txn| {
                copies::attach(txn, &id, &wanted)?;
                txn.attached_to(&id)
            })
        });
        self.work.volumes = recorded.await?;
        if is_awake {
            let new = self.volume(&volume)?;
            if let Err(error) = self.work.attach_volume(&new, Attaching::Asked).await {
                self.take_back(&new).await;
                return Err(error);
            }
        }
        Ok(self.work.view())
    }

    /// Takes back a volume that the machine did not take. If that does not work either, it is
    /// attached, and mounted at the next start.
    async fn take_back(&mut self, volume: &AttachedVolume) {
        let taken_back = async {
            if let Some(link) = &self.work.link {
                link.unmount_volume(&in_guest(volume), MOUNT_LIMIT).await?;
            }
            if let Some(machine) = &self.work.machine {
                machine.unplug(volume.at.slot).await?;
            }
            self.forget_volume(&volume.at.volume).await
        };
        match taken_back.await {
            Ok(()) => self.drop_volume(&volume.at.volume),
            Err(error) => tracing::error!(
                sandbox = %self.work.row.id,
                volume = %volume.name,
                error = &error as &dyn std::error::Error,
                "a volume that was not mounted is still attached"
            ),
        }
    }

    async fn forget_volume(&self, volume: &VolumeId) -> Result<(), Error> {
        let (volume, id) = (volume.clone(), self.work.row.id.clone());
        let ctx = &self.work.ctx;
        ctx.db(move |store| store.detach(&volume, &id)).await
    }

    fn drop_volume(&mut self, volume: &VolumeId) {
        self.work.volumes.retain(|it| it.at.volume != *volume);
    }

    /// Takes a volume from it. What its guest has written to it is on the disk then.
    pub(super) async fn detach(&mut self, volume: &VolumeId) -> Result<SandboxView, Error> {
        let attached = self.volume(volume)?;
        if self.awake().await? {
            self.work.detach_volume(&attached).await?;
        }
        self.forget_volume(volume).await?;
        self.drop_volume(volume);
        Ok(self.work.view())
    }

    /// Makes a volume that it may write to larger, which is recorded already.
    pub(super) async fn grow_volume(
        &mut self,
        volume: &VolumeId,
        size: VolumeMb,
    ) -> Result<(), Error> {
        let attached = self.volume(volume)?;
        if self.awake().await? {
            let machine = self.work.machine()?;
            machine.grow(attached.at.slot, size.bytes()).await?;
            let link = self.work.link()?;
            link.grow_volume(&in_guest(&attached), CALL_LIMIT).await?;
        }
        // Whoever boots next with it makes its file longer, and its guest grows with it.
        for volume in &mut self.work.volumes {
            if volume.at.volume == attached.at.volume {
                volume.size = volume.size.max(size);
            }
        }
        Ok(())
    }

    /// Copies a volume that it has as it is at one moment, its file system whole. A machine that
    /// sleeps has written out what it had before it went to sleep, and is not woken.
    pub(super) async fn capture_volume(
        &mut self,
        volume: &VolumeId,
        to: PathBuf,
    ) -> Result<(), Error> {
        let attached = self.volume(volume)?;
        let from = self.work.ctx.layout.volume_disk(volume);
        let copied = move || clone(&from, &to);
        let is_still = attached.at.read_only
            || match self.work.state() {
                State::Hot | State::Warm => false,
                State::Cold | State::Off | State::Failed => true,
                State::Creating | State::Destroying => {
                    return Err(Error::NotFound {
                        kind: Kind::Sandbox,
                        name: self.work.row.name.to_string(),
                    });
                }
            };
        if is_still {
            return Context::blocking(copied).await?.map_err(Error::internal);
        }
        self.wake(Request::Wake).await?;
        let link = self.work.link()?.clone();
        let volume = in_guest(&attached);
        link.freeze_volume(&volume, FREEZE_AT_MOST, CALL_LIMIT)
            .await?;
        let copied = Context::blocking(copied).await;
        // If it went on by itself, what was copied is of no one moment.
        link.thaw_volume(&volume, CALL_LIMIT).await?;
        copied?.map_err(Error::internal)
    }
}
