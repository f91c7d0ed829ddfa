//! The file of a pool, and its way to being mounted.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use super::error::{MOUNT, PoolError, failed};
use super::loop_device::{FileId, LoopDevice, has_behind};
use super::size::{self, HostSpace};
use super::{mounts, xfs};
use crate::files;

/// The pool's file.
const IMAGE: &str = "pool.img";
/// The pool's file while it is being made.
const ASIDE: &str = ".new-pool.img";
/// The directory the pool is mounted on.
const POINT: &str = "pool";

/// Moments in the making of a pool; a process may end at each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The file is there, under its first name, and empty.
    Empty,
    /// It holds a file system.
    Formatted,
    /// A loop device is over it.
    Attached,
    /// It is mounted.
    Mounted,
    /// It has its name.
    Named,
}

/// Told of each moment.
pub(super) type Watch<'w> = &'w (dyn Fn(Moment) + Sync);

/// Where a pool is in a data directory.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The data directory, canonical, as the table of mounts has it.
    data: PathBuf,
}

impl Place {
    /// The place in a data directory.
    pub(super) fn of(data_dir: &Path) -> Result<Self, PoolError> {
        let data = fs_err::canonicalize(data_dir).map_err(failed("find", data_dir))?;
        Ok(Self { data })
    }

    /// The data directory.
    pub(super) fn data(&self) -> &Path {
        &self.data
    }

    /// The pool's file.
    pub(super) fn image(&self) -> PathBuf {
        self.data.join(IMAGE)
    }

    fn aside(&self) -> PathBuf {
        self.data.join(ASIDE)
    }

    /// Where it is mounted.
    pub(super) fn point(&self) -> PathBuf {
        self.data.join(POINT)
    }

    /// Makes a pool of this size and mounts it. The file's name appears last, so that a pool that
    /// has it is whole and could be mounted here. On an error nothing of it is left.
    pub(super) async fn make(&self, size: u64, watch: Watch<'_>) -> Result<(), PoolError> {
        let made = self.make_or_leave_half(size, watch).await;
        if made.is_err()
            && let Err(error) = self.on_a_thread(Self::clear_half_made).await
        {
            // What counts is why it could not be made; the next start clears what is left.
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a half-made pool could not be cleared"
            );
        }
        made
    }

    async fn make_or_leave_half(&self, size: u64, watch: Watch<'_>) -> Result<(), PoolError> {
        let aside = self.aside();
        self.on_a_thread(Self::point_is_free).await?;
        files::create_sparse(&aside, size).map_err(failed("make", &aside))?;
        fs_err::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))
            .map_err(failed("make", &aside))?;
        watch(Moment::Empty);
        xfs::format(&aside).await?;
        watch(Moment::Formatted);
        let device = self
            .on_a_thread(|place| {
                let aside = place.aside();
                files::sync_file(&aside).map_err(failed("write", &aside))?;
                LoopDevice::attach(&aside).map_err(failed("attach a loop device to", &aside))
            })
            .await?;
        watch(Moment::Attached);
        self.on_a_thread(move |place| place.mount(&device)).await?;
        watch(Moment::Mounted);
        self.on_a_thread(|place| {
            let image = place.image();
            files::rename_durable(&place.aside(), &image).map_err(failed("name", &image))
        })
        .await?;
        watch(Moment::Named);
        Ok(())
    }

    fn point_is_free(&self) -> Result<(), PoolError> {
        let point = self.point();
        match mounts::on(&point).map_err(failed("look for mounts on", &point))? {
            Some(_) => Err(PoolError::Foreign { path: point }),
            None => Ok(()),
        }
    }

    /// Mounts the pool that is there. Success if it is mounted.
    pub(super) async fn take_up(&self) -> Result<(), PoolError> {
        self.on_a_thread(|place| {
            let (image, point) = (place.image(), place.point());
            let file = file_id(&image)?
                .ok_or_else(|| failed("find", &image)(io::Error::from(io::ErrorKind::NotFound)))?;
            match mounts::on(&point).map_err(failed("look for mounts on", &point))? {
                Some(mount) if is_over(mount.device, file, &point)? => return Ok(()),
                Some(_) => return Err(PoolError::Foreign { path: point }),
                None => {}
            }
            if !rustix::process::geteuid().is_root() {
                return Err(PoolError::NotRoot);
            }
            // One that is mounted only where this process can't see it has its device.
            let found =
                LoopDevice::find(file).map_err(failed("find the loop device of", &image))?;
            let device = match found {
                Some(device) => device,
                None => {
                    LoopDevice::attach(&image).map_err(failed("attach a loop device to", &image))?
                }
            };
            place.mount(&device)
        })
        .await
    }

    /// Mounts a device. What holds it from then on is the mount: the caller may close it.
    fn mount(&self, device: &LoopDevice) -> Result<(), PoolError> {
        let point = self.point();
        fs_err::create_dir_all(&point).map_err(failed("make", &point))?;
        // Blocks that get free in the pool are given back to the host's file system.
        let options = Some(c"discard");
        let flags = MountFlags::NOATIME | MountFlags::NODEV | MountFlags::NOSUID;
        mount(device.path(), &point, "xfs", flags, options)
            .map_err(|errno| failed(MOUNT, &point)(errno.into()))
    }

    /// Takes away a pool that was never whole. Success if there is none.
    pub(super) fn clear_half_made(&self) -> Result<(), PoolError> {
        let aside = self.aside();
        self.let_go(&aside)?;
        files::remove_file(&aside).map_err(failed("delete", &aside))
    }

    /// Unmounts the pool and takes its file off the loop device. Success if that is so already.
    pub(super) fn release(&self) -> Result<(), PoolError> {
        self.let_go(&self.image())?;
        self.let_go(&self.aside())
    }

    fn let_go(&self, image: &Path) -> Result<(), PoolError> {
        let point = self.point();
        let Some(file) = file_id(image)? else {
            return Ok(());
        };
        let mounted = mounts::on(&point).map_err(failed("look for mounts on", &point))?;
        if let Some(mounted) = mounted
            && is_over(mounted.device, file, &point)?
        {
            unmount(&point, UnmountFlags::NOFOLLOW)
                .map_err(|errno| failed("unmount", &point)(errno.into()))?;
        }
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        match LoopDevice::find(file).map_err(failed("find the loop device of", image))? {
            Some(device) => device
                .detach()
                .map_err(failed("take the loop device off", image)),
            None => Ok(()),
        }
    }

    /// Makes the mounted pool as large as it may be, if it is nearly full. Whether it has grown.
    /// What an earlier attempt was cut off in is finished. Blocking.
    pub(super) fn grow(&self, reserve: u64, limit: Option<u64>) -> Result<bool, PoolError> {
        let (image, point) = (self.image(), self.point());
        let before = space(&point)?;
        if !size::is_low(before.total, before.free) {
            return Ok(false);
        }
        let file = fs_err::OpenOptions::new()
            .write(true)
            .open(&image)
            .map_err(failed("open", &image))?;
        let length = file.metadata().map_err(failed("look at", &image))?.len();
        let used = files::disk_usage(&image).map_err(failed("look at", &image))?;
        let most = size::pool(used, space(&self.data)?.free, reserve, limit);
        let wanted = most.map_or(length, |most| most.max(length));
        if wanted > length {
            file.set_len(wanted)
                .and_then(|()| file.sync_all())
                .map_err(failed("grow", &image))?;
        }
        let id = file_id(&image)?;
        let find = |id| LoopDevice::find(id).map_err(failed("find the loop device of", &image));
        if let Some(device) = id.map(find).transpose()?.flatten() {
            device.take_size().map_err(failed("grow", &image))?;
            xfs::grow(&point, wanted).map_err(failed("grow", &point))?;
        }
        Ok(space(&point)?.total > before.total)
    }

    /// Does work that waits for disks where that holds up nobody.
    pub(super) async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, PoolError> + Send + 'static,
    ) -> Result<T, PoolError> {
        let place = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&place)).await;
        done.map_err(|error| failed("work on", &self.data)(io::Error::other(error)))?
    }
}

fn file_id(path: &Path) -> Result<Option<FileId>, PoolError> {
    FileId::of(path).map_err(failed("look at", path))
}

fn is_over(device: mounts::Device, file: FileId, point: &Path) -> Result<bool, PoolError> {
    has_behind(device, file).map_err(failed("look at what is mounted on", point))
}

/// The space of the file system of a path.
pub(super) fn space(path: &Path) -> Result<HostSpace, PoolError> {
    let stat = rustix::fs::statvfs(path).map_err(|errno| failed("look at", path)(errno.into()))?;
    Ok(HostSpace {
        total: stat.f_blocks.saturating_mul(stat.f_frsize),
        free: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}
