//! The storage of a data directory.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::error::{PoolError, failed};
use super::image::{Place, Watch, space};
use super::settings::{StorageChoice, StorageKind, StorageSettings};
use super::size;
use crate::files::{self, Cloned};

/// Directories of machines in a data directory.
const MACHINES: [&str; 2] = ["sandboxes", "snapshots"];
/// How the names of half-made directories begin.
const HALF_MADE: &str = ".new-";

/// The storage of an open data directory.
#[derive(Debug)]
pub struct Storage {
    root: PathBuf,
    kind: StorageKind,
    place: Place,
    reserve: u64,
    limit: Option<u64>,
    /// One at a time grows it.
    growing: Mutex<()>,
}

/// What a data directory is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// It has a pool.
    pool: bool,
    /// It has machines or checkpoints outside of a pool.
    machines: bool,
    /// Its own file system shares blocks.
    reflink: bool,
}

/// What to do about a data directory.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Use its pool.
    TakeUp,
    /// Make a pool; if that can't be done, that is an error if it is insisted on.
    Make { insisted: bool },
    /// Use it as it is.
    Plain,
}

/// Finds or makes the storage of a data directory, which the caller has locked.
///
/// May be ended at any moment and called again: what was half made is made anew. A pool that is
/// there is mounted, whatever the settings say, or it is an error that it can't be. Where there is
/// none and none can be made, the data directory is used as it is and the log has the reason,
/// unless the settings insist on a pool.
pub async fn open(data_dir: &Path, settings: StorageSettings) -> Result<Storage, PoolError> {
    open_watched(data_dir, settings, &|_| ()).await
}

/// [`open`], with somebody who is told of each moment in the making of a pool.
pub(super) async fn open_watched(
    data_dir: &Path,
    settings: StorageSettings,
    watch: Watch<'_>,
) -> Result<Storage, PoolError> {
    let place = Place::of(data_dir)?;
    let found = place
        .on_a_thread(|place| {
            place.clear_half_made()?;
            look(place)
        })
        .await?;
    let reserve = match settings.reserve {
        Some(reserve) => reserve,
        None => size::reserve(space(place.data())?.total),
    };
    let plain = if found.reflink {
        StorageKind::Reflink
    } else {
        StorageKind::Copy
    };
    let kind = match decide(found, settings.choice)? {
        Decision::TakeUp => {
            place.take_up().await?;
            StorageKind::Pool
        }
        Decision::Make { insisted } => match make(&place, reserve, settings.limit, watch).await {
            Ok(()) => StorageKind::Pool,
            Err(error) if !insisted && error.is_the_host() => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    hint = error.hint(),
                    "the data directory's file system cannot share blocks, and no pool could \
                         be made; machines' files are copied, which is slower and takes more room"
                );
                plain
            }
            Err(error) => return Err(error),
        },
        Decision::Plain => {
            if !found.reflink && settings.choice == StorageChoice::Auto {
                tracing::info!(
                    hint = "move it to XFS or Btrfs; a new data directory gets a pool by itself",
                    "the data directory's file system cannot share blocks; it has machines \
                     already and stays without a pool"
                );
            }
            plain
        }
    };
    let storage = Storage {
        root: match kind {
            StorageKind::Pool => data_dir.join(place.point().file_name().unwrap_or_default()),
            StorageKind::Reflink | StorageKind::Copy => data_dir.to_owned(),
        },
        kind,
        place,
        reserve,
        limit: settings.limit,
        growing: Mutex::new(()),
    };
    storage.place.on_a_thread(check_and_grow(&storage)).await?;
    Ok(storage)
}

/// Grows a pool at its opening, if need be; not being able to is no reason not to open it.
fn check_and_grow(
    storage: &Storage,
) -> impl FnOnce(&Place) -> Result<(), PoolError> + Send + 'static + use<> {
    let (kind, reserve, limit) = (storage.kind, storage.reserve, storage.limit);
    move |place| {
        if kind == StorageKind::Pool {
            note_growth(place.grow(reserve, limit), place);
        }
        Ok(())
    }
}

fn note_growth(result: Result<bool, PoolError>, place: &Place) -> bool {
    match result {
        Ok(grown) => {
            if grown && let Ok(space) = space(&place.point()) {
                tracing::info!(mib = space.total >> 20, "the pool has grown");
            }
            grown
        }
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the pool could not be grown"
            );
            false
        }
    }
}

async fn make(
    place: &Place,
    reserve: u64,
    limit: Option<u64>,
    watch: Watch<'_>,
) -> Result<(), PoolError> {
    if !rustix::process::geteuid().is_root() {
        return Err(PoolError::NotRoot);
    }
    let free = space(place.data())?.free;
    let Some(size) = size::pool(0, free, reserve, limit) else {
        return Err(PoolError::NoRoom {
            free: free.saturating_sub(reserve),
        });
    };
    place.make(size, watch).await?;
    tracing::info!(
        "the data directory's file system cannot share blocks; made a pool of {} GiB at {}",
        size >> 30,
        place.point().display()
    );
    Ok(())
}

fn decide(found: Found, choice: StorageChoice) -> Result<Decision, PoolError> {
    match (found.pool, found.machines) {
        (true, true) => return Err(PoolError::Split),
        (true, false) => return Ok(Decision::TakeUp),
        (false, _) => {}
    }
    match choice {
        StorageChoice::Plain => Ok(Decision::Plain),
        StorageChoice::Auto if found.reflink || found.machines => Ok(Decision::Plain),
        StorageChoice::Auto => Ok(Decision::Make { insisted: false }),
        StorageChoice::Pool if found.machines => Err(PoolError::HasMachines),
        StorageChoice::Pool => Ok(Decision::Make { insisted: true }),
    }
}

fn look(place: &Place) -> Result<Found, PoolError> {
    let data = place.data();
    let image = place.image();
    Ok(Found {
        pool: image.try_exists().map_err(failed("look at", &image))?,
        machines: has_machines(data)?,
        reflink: shares_blocks(data).map_err(failed("try to share blocks in", data))?,
    })
}

fn has_machines(data: &Path) -> Result<bool, PoolError> {
    for dir in MACHINES {
        let dir = data.join(dir);
        let entries = match fs_err::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("look into", dir)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed("look into", &dir))?;
            if !entry.file_name().to_string_lossy().starts_with(HALF_MADE) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether files in a directory can share their blocks, tried on a small one.
pub fn shares_blocks(dir: &Path) -> std::io::Result<bool> {
    let (from, to) = (dir.join(".new-share-a"), dir.join(".new-share-b"));
    let tried = fs_err::write(&from, [1; 8192]).and_then(|()| files::clone_file(&from, &to));
    files::remove_file(&from)?;
    files::remove_file(&to)?;
    Ok(tried? == Cloned::Reflink)
}

impl Storage {
    /// Where machines' files are kept.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// How they are copied.
    pub fn kind(&self) -> StorageKind {
        self.kind
    }

    /// Bytes that may still be used: what is free, in the pool as well as on the host, without the
    /// host's reserve.
    pub fn free(&self) -> Result<u64, PoolError> {
        let host = space(self.place.data())?.free.saturating_sub(self.reserve);
        match self.kind {
            StorageKind::Pool => Ok(host.min(space(&self.root)?.free)),
            StorageKind::Reflink | StorageKind::Copy => Ok(host),
        }
    }

    /// Bytes that the file system of [`Storage::root`] has in all.
    pub fn size(&self) -> Result<u64, PoolError> {
        Ok(space(&self.root)?.total)
    }

    /// Whether it is a pool that is nearly full, so that [`Storage::grow`] has something to do.
    pub fn is_low(&self) -> Result<bool, PoolError> {
        match self.kind {
            StorageKind::Pool => {
                let space = space(&self.root)?;
                Ok(size::is_low(space.total, space.free))
            }
            StorageKind::Reflink | StorageKind::Copy => Ok(false),
        }
    }

    /// Makes a pool that is nearly full as large as the host's disk allows, and says whether it
    /// has grown; failures are in the log. Blocking: some milliseconds, more on a busy disk.
    pub fn grow(&self) -> bool {
        if self.kind != StorageKind::Pool {
            return false;
        }
        let _one = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        note_growth(self.place.grow(self.reserve, self.limit), &self.place)
    }
}

#[cfg(test)]
mod test {
    use super::{Decision, Found, decide, has_machines};
    use crate::pool::error::PoolError;
    use crate::pool::settings::StorageChoice::{Auto, Plain, Pool};

    #[test]
    fn each_data_directory_gets_the_storage_that_fits_it() {
        let found = |pool, machines, reflink| Found {
            pool,
            machines,
            reflink,
        };
        for choice in [Auto, Pool, Plain] {
            for reflink in [false, true] {
                let with_pool = decide(found(true, false, reflink), choice);
                assert_eq!(with_pool.unwrap(), Decision::TakeUp);
                let split = decide(found(true, true, reflink), choice);
                assert!(matches!(split, Err(PoolError::Split)));
            }
        }
        let new = found(false, false, false);
        assert_eq!(
            decide(new, Auto).unwrap(),
            Decision::Make { insisted: false }
        );
        assert_eq!(
            decide(new, Pool).unwrap(),
            Decision::Make { insisted: true }
        );
        assert_eq!(decide(new, Plain).unwrap(), Decision::Plain);
        let sharing = found(false, false, true);
        assert_eq!(decide(sharing, Auto).unwrap(), Decision::Plain);
        let old = found(false, true, false);
        assert_eq!(decide(old, Auto).unwrap(), Decision::Plain);
        assert!(matches!(decide(old, Pool), Err(PoolError::HasMachines)));
    }

    #[test]
    fn empty_and_half_made_directories_are_no_machines() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!has_machines(dir.path()).unwrap());
        fs_err::create_dir_all(dir.path().join("snapshots/.new-snp_1")).unwrap();
        fs_err::create_dir(dir.path().join("sandboxes")).unwrap();
        assert!(!has_machines(dir.path()).unwrap());
        fs_err::create_dir(dir.path().join("sandboxes/sbx_1")).unwrap();
        assert!(has_machines(dir.path()).unwrap());
    }
}
